"""Runs real clients against the built binary, a line for each check; ends with 1 if one does not hold."""

import resource
import sys

import checks
from stage import Stage

import with_curl
import with_h2
import with_httpx
import with_aiohttp
import with_grpc
import with_ssl
import with_websockets
import patience
import bulk
import many

MODULES = (
    with_curl,
    with_h2,
    with_httpx,
    with_aiohttp,
    with_grpc,
    with_ssl,
    with_websockets,
    patience,
    bulk,
    many,
)


def main():
    # A thousand connections need a thousand descriptors, here and in the proxy.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with Stage() as stage:
        failed = checks.run(stage, sys.argv[1:])
        if failed:
            print("what the proxy logged:\n" + stage.log()[-4000:])
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
