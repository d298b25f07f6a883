#!/usr/bin/env bash
# Makes an authority and its certificates under certificates/, for a day.
set -euo pipefail
mkdir -p certificates
cd certificates
key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key" 2>/dev/null; }
key authority
openssl req -x509 -key authority.key -subj "/CN=Example Authority" -days 1 -out authority.pem
issue() {
  key "$1"
  openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA authority.pem -CAkey authority.key -CAcreateserial -days 1 \
    -extfile <(printf 'subjectAltName=%s\n' "$2") -out "$1.pem" 2>/dev/null
  rm "$1.csr"
}
issue localhost DNS:localhost,DNS:*.localhost
issue edge DNS:edge.internal
issue inside DNS:inside.internal
