"""An SMTP server that takes mail only over STARTTLS and only after a login.

    smtp.py PORT FOLDER

Writes FOLDER/ca.pem (the authority to trust) once, keeps one JSON line for each
mail in FOLDER/mails.jsonl, and says `ready` when it serves. FOLDER/refused holds
an address, how often it is refused first, and the answer's code (450 unless given).
"""

import asyncio
import email
import json
import ssl
import sys
from email import policy
from pathlib import Path

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

PORT, FOLDER = int(sys.argv[1]), Path(sys.argv[2])


class Keeper:
    def __init__(self):
        self.refused = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        refused = FOLDER / "refused"
        who, times, *code = refused.read_text().split() if refused.exists() else ("", "0")
        if address == who and self.refused < int(times):
            self.refused += 1
            return "550 5.2.2 mailbox full" if code == ["550"] else "450 4.2.0 try again later"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=policy.default)
        line = {
            "to": envelope.rcpt_tos,
            "message_id": mail["Message-ID"],
            "references": mail["References"],
            "subject": mail["Subject"],
            "text": mail.get_body(("plain",)).get_content(),
            "encrypted": session.ssl is not None,
            "user": session.auth_data.login.decode() if session.auth_data else None,
        }
        with open(FOLDER / "mails.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")
        return "250 kept"


def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"midwatch", b"right p@ss")
    return AuthResult(success=good, auth_data=data if good else None)


def context():
    chain, authority = FOLDER / "server.pem", FOLDER / "ca.pem"
    if not chain.exists():
        ca = trustme.CA()
        ca.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(chain)
        ca.cert_pem.write_to_path(authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context


server = Controller(
    Keeper(),
    hostname="127.0.0.1",
    port=PORT,
    tls_context=context(),
    require_starttls=True,
    authenticator=authenticate,
    auth_required=True,
    auth_require_tls=True,
    ready_timeout=30,
)
server.start()
print("ready", flush=True)
try:
    sys.stdin.read()
except KeyboardInterrupt:
    pass
server.stop()
