"""How our own programs trust the endpoint's certificate."""

import ssl

from stack.settings import Settings


def endpoint_trust(settings: Settings) -> ssl.SSLContext | bool:
    """httpx's `verify` for `settings.endpoint_url`.

    At the address where we started it ourselves, the endpoint has the certificate of the settings or it is another
    server: that file is trusted and nothing else, whatever name is in it. At a URL that was given, the names and
    issuers that this machine trusts decide, as for any client.
    """
    if settings.tls_certificate_file is None or settings.endpoint_url_override is not None:
        return True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the file need not go up to a root
    context.load_verify_locations(cafile=settings.tls_certificate_file)
    return context
