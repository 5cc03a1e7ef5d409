"""AWS's SDK as a device out of the box: `aws_provision.py WAY CA PORT CLAIM_CERT CLAIM_KEY SERIAL OUT CLIENT HOW`.

Asks with a claim for a certificate (HOW: `key` or a file with a request, whose key is at OUT.key.pem), registers as SERIAL, and
connects as the device that it was made. CLIENT: `1` or `2`, the SDK's two clients of fleet provisioning. Prints the name it was
given, after a reading of its own was acknowledged.
"""

import sys
from concurrent.futures import Future

from awscrt import mqtt, mqtt_request_response
from awsiot import iotidentity

from aws_iot import PATIENCE_S, peer

WAY, CA, PORT, CERT, KEY, SERIAL, OUT, CLIENT, HOW = sys.argv[1:]


class Rejected(Exception):
    pass


class First:
    """Subscribes to the answers and then asks, in steps of its own."""

    def __init__(self, connection):
        self.client = iotidentity.IotIdentityClient(connection)

    def _ask(self, what, subscription, request):
        future, at_least_once = Future(), mqtt.QoS.AT_LEAST_ONCE
        done = lambda answer: future.set_result(answer)
        failed = lambda answer: future.set_exception(Rejected(answer.status_code, answer.error_code))
        for how, callback in (("accepted", done), ("rejected", failed)):
            listen = getattr(self.client, f"subscribe_to_{what}_{how}")
            listen(subscription, at_least_once, callback)[0].result(PATIENCE_S)
        getattr(self.client, f"publish_{what}")(request, at_least_once).result(PATIENCE_S)
        return future.result(PATIENCE_S)

    def create(self):
        return self._ask(
            "create_keys_and_certificate",
            iotidentity.CreateKeysAndCertificateSubscriptionRequest(),
            iotidentity.CreateKeysAndCertificateRequest(),
        )

    def sign(self, request):
        return self._ask(
            "create_certificate_from_csr",
            iotidentity.CreateCertificateFromCsrSubscriptionRequest(),
            iotidentity.CreateCertificateFromCsrRequest(certificate_signing_request=request),
        )

    def register(self, token):
        subscription = iotidentity.RegisterThingSubscriptionRequest(template_name="pumps")
        return self._ask("register_thing", subscription, registration(token))


class Second:
    """Asks; the SDK sees to the rest."""

    def __init__(self, connection):
        options = mqtt_request_response.ClientOptions(
            max_request_response_subscriptions=2, max_streaming_subscriptions=2, operation_timeout_in_seconds=PATIENCE_S
        )
        self.client = iotidentity.IotIdentityClientV2(connection, options)

    def _ask(self, future):
        try:
            return future.result(PATIENCE_S)
        except iotidentity.awsiot.V2ServiceException as error:
            raise Rejected(error.modeled_error.status_code, error.modeled_error.error_code) from error

    def create(self):
        return self._ask(self.client.create_keys_and_certificate(iotidentity.CreateKeysAndCertificateRequest()))

    def sign(self, request):
        request = iotidentity.CreateCertificateFromCsrRequest(certificate_signing_request=request)
        return self._ask(self.client.create_certificate_from_csr(request))

    def register(self, token):
        return self._ask(self.client.register_thing(registration(token)))


def registration(token):
    return iotidentity.RegisterThingRequest(
        template_name="pumps", certificate_ownership_token=token, parameters={"SerialNumber": SERIAL}
    )


def rejected(ask, *arguments):
    try:
        answer = ask(*arguments)
    except Rejected as error:
        return error.args
    raise AssertionError(f"it was accepted: {answer}")


claim = peer(WAY, CA, PORT, CERT, KEY, f"box-{SERIAL}")
claim.connect()
asking = (First if CLIENT == "1" else Second)(claim.client)
assert rejected(asking.sign, "junk") == (400, "InvalidCertificateSigningRequest")
if HOW == "key":
    made = asking.create()
    with open(f"{OUT}.key.pem", "w") as file:
        file.write(made.private_key)
else:
    with open(HOW) as file:
        made = asking.sign(file.read())
with open(f"{OUT}.cert.pem", "w") as file:
    file.write(made.certificate_pem)
assert len(made.certificate_id) == 64, made.certificate_id
assert rejected(asking.register, "junk") == (400, "InvalidCertificateOwnershipToken")
answer = asking.register(made.certificate_ownership_token)
assert answer.device_configuration == {"site": "hq"}, answer.device_configuration
claim.disconnect()

device = peer(WAY, CA, PORT, f"{OUT}.cert.pem", f"{OUT}.key.pem", answer.thing_name)
device.connect()
device.publish(f"dt/{answer.thing_name}/state", f'{{"serial": {SERIAL}}}')
device.disconnect()
print(answer.thing_name, flush=True)
