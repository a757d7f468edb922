"""An LDAP server with some people, for the test of a module that asks one. It prints its port."""

import base64
import hashlib
from io import BytesIO

from ldaptor.inmemory import fromLDIFFile
from ldaptor.interfaces import IConnectedLDAPEntry
from ldaptor.protocols.ldap.ldapserver import LDAPServer
from twisted.internet import protocol, reactor
from twisted.python.components import registerAdapter

PASSWORD = "{SSHA}" + base64.b64encode(hashlib.sha1(b"ldap secret" + b"salt").digest() + b"salt").decode()

TREE = "".join(
    f"dn: {dn}\nobjectClass: {kind}\n{more}\n"
    for dn, kind, more in [
        ("dc=org", "dcObject", "dc: org\n"),
        ("dc=example,dc=org", "dcObject", "dc: example\n"),
        ("ou=users,dc=example,dc=org", "organizationalUnit", "ou: users\n"),
        *(
            (f"cn={name},ou=users,dc=example,dc=org", "person", f"cn: {name}\ngivenName: {name.title()}\nmail: {name}@example.org\nuserPassword: {PASSWORD}\n")
            for name in ("bob", "carol")
        ),
    ]
)


class Factory(protocol.ServerFactory):
    protocol = LDAPServer

    def __init__(self, root):
        self.root = root

    def buildProtocol(self, addr):
        served = self.protocol()
        served.factory = self
        return served


def serve(root):
    port = reactor.listenTCP(0, Factory(root), interface="127.0.0.1")
    print(port.getHost().port, flush=True)


registerAdapter(lambda factory: factory.root, Factory, IConnectedLDAPEntry)
fromLDIFFile(BytesIO(TREE.encode())).addCallback(serve)
reactor.run()
