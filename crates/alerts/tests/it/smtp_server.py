"""A mail server for the tests: aiosmtpd with a certificate of a test authority.

Arguments: folder for `ca.pem`, and how it speaks: starttls | wrapped | plain | refusing. Prints its port, then one line of
JSON per message that it took. Ends with its standard input.
"""

import asyncio
import datetime
import ipaddress
import json
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

folder, manner = pathlib.Path(sys.argv[1]), sys.argv[2]


def certificate(name, issuer_name, issuer_key, key, is_authority):
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer_name)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if not is_authority:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def context():
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = certificate("test authority", "test authority", authority_key, authority_key, True)
    own = certificate("localhost", "test authority", authority_key, key, False)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "own.pem").write_bytes(own.public_bytes(pem) + private)
    (folder / "ca.pem").write_bytes(authority.public_bytes(pem))
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(folder / "own.pem")
    return made


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if manner == "refusing":
            return "550 5.1.1 nobody of that name here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        said = {
            "to": envelope.rcpt_tos,
            "from": envelope.mail_from,
            "tls": session.ssl is not None or manner == "wrapped",
            "login": session.auth_data.decode() if session.auth_data else None,
            "content": envelope.content.decode(),
        }
        print(json.dumps(said), flush=True)
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    right = data.login == b"godwit" and data.password == b"right"
    return AuthResult(success=right, auth_data=data.login if right else None, handled=False)


async def main():
    tls = context()
    loop = asyncio.get_running_loop()

    def session():
        if manner == "starttls":
            return SMTP(Handler(), tls_context=tls, require_starttls=True, authenticator=authenticate, auth_required=True, loop=loop)
        if manner == "wrapped":
            return SMTP(Handler(), authenticator=authenticate, auth_require_tls=False, loop=loop)
        return SMTP(Handler(), loop=loop)

    server = await loop.create_server(session, "127.0.0.1", 0, ssl=tls if manner == "wrapped" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
