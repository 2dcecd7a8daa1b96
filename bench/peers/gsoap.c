/* The usual gSOAP server: a thread per connection, kept alive; all else is generated from um.h. */
#include <pthread.h>
#include "soapH.h"
#include "um.nsmap"

int ns__Disconnect(struct soap *soap, char *CallId, struct ns__DisconnectResponse *response)
{
    (void)response;
    return CallId && *CallId ? SOAP_OK : soap_sender_fault(soap, "No call identifier.", NULL);
}

static void *serve(void *argument)
{
    struct soap *soap = argument;
    pthread_detach(pthread_self());
    soap_serve(soap);
    soap_destroy(soap);
    soap_end(soap);
    soap_free(soap);
    return NULL;
}

int main(int argc, char **argv)
{
    struct soap *soap = soap_new1(SOAP_IO_KEEPALIVE | SOAP_C_UTFSTRING);
    pthread_t thread;
    soap->max_keep_alive = 0; /* no limit: the client is to measure requests, not connections */
    soap->bind_flags = SO_REUSEADDR;
    soap->accept_timeout = 0;
    soap->tcp_keep_alive = 0;
    if (argc != 2 || !soap_valid_socket(soap_bind(soap, "127.0.0.1", atoi(argv[1]), 1024)))
        return 1;
    for (;;)
        if (soap_valid_socket(soap_accept(soap)))
            pthread_create(&thread, NULL, serve, soap_copy(soap));
}
