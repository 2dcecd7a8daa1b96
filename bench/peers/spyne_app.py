"""A spyne service, for gunicorn: `gunicorn spyne_app:application`."""

from spyne import Application, ServiceBase, Unicode, rpc
from spyne.protocol.soap import Soap11
from spyne.server.wsgi import WsgiApplication

MESSAGES = "http://schemas.microsoft.com/exchange/services/2006/messages"


class Um(ServiceBase):
    @rpc(Unicode, _in_arg_names={"call_id": "CallId"}, _returns=Unicode)
    def Disconnect(ctx, call_id):
        return None


application = WsgiApplication(
    Application([Um], MESSAGES, in_protocol=Soap11(), out_protocol=Soap11())
)
