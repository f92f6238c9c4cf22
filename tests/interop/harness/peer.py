"""A Linux machine under User-Mode Linux; see lab/README.md."""

import shutil

from .network import CACHE, LAB, run


class Peer:
    def __init__(self, name, namespace, nics, image="strongswan"):
        self.name, self.image = name, image
        self.share = CACHE / "run" / name / "share"
        arguments = [word for nic in nics for word in ("--nic", ",".join(nic))]
        run(LAB / "run-peer", "--name", name, "--netns", namespace, "--image", image, *arguments, timeout=900)

    def do(self, command, timeout=120):
        """Runs a shell command in the peer; its stdout. Raises Failed if it fails."""
        return run(LAB / "peer-exec", "-t", timeout, self.name, command, timeout=timeout + 10)

    def save_logs(self, directory):
        if (self.share / "log").exists():
            shutil.copytree(self.share / "log", directory, dirs_exist_ok=True)

    def stop(self):
        run(LAB / "peer-stop", self.name, check=False)
        shutil.rmtree(CACHE / "run" / self.name, ignore_errors=True)
