"""Owns certificates for the clients: authorities, and what they sign. openssl makes them."""

import subprocess

CURVE = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


def openssl(*words):
    """Runs it; what it has against it, it says."""
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


class Authority:
    """Signs certificates, which stand in a folder with their keys."""

    def __init__(self, folder, name):
        self.folder = folder
        self.pem, self.key = folder / f"{name}.pem", folder / f"{name}.key"
        openssl("genpkey", *CURVE, "-out", self.key)
        extensions = ("basicConstraints=critical,CA:true", "keyUsage=critical,keyCertSign")
        words = [word for extension in extensions for word in ("-addext", extension)]
        subject = ("-subj", f"/CN={name}")
        openssl("req", "-x509", "-new", "-key", self.key, "-out", self.pem, *subject, *words)

    def issue(self, name, host, days=2):
        """A certificate for a host; with fewer days than none it has ended. Gives both files."""
        pem, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        request, said = self.folder / "request", self.folder / "said"
        said.write_text(f"subjectAltName=DNS:{host}\nbasicConstraints=CA:false\n")
        openssl("genpkey", *CURVE, "-out", key)
        openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
        signed = ("-CA", self.pem, "-CAkey", self.key, "-set_serial", abs(hash(name)))
        ends = ("-days", days, "-extfile", said)
        openssl("x509", "-req", "-in", request, *signed, *ends, "-out", pem)
        return pem, key
