//gsoap ns service name: um
//gsoap ns service namespace: http://schemas.microsoft.com/exchange/services/2006/messages
//gsoap ns service location: http://127.0.0.1:8080/
//gsoap ns schema form: qualified
//gsoap ns service method-action: Disconnect http://schemas.microsoft.com/exchange/services/2006/messages/Disconnect
struct ns__DisconnectResponse {};
int ns__Disconnect(char *CallId, struct ns__DisconnectResponse *response);
