"""The files of doc/fleet: their own validators accept them, and their limits are those that the daemon asks for."""
import json
import pathlib
import re
import shutil
import subprocess
import unittest

from harness import BUILD, EDGEMINDD, PAGE, ROOT, TestCase, clean_environment, run

FLEET = ROOT / "doc" / "fleet"
MANIFESTS = ("daemonset.yaml", "client.yaml")
NPM_SECONDS = 120

needs_kubectl = unittest.skipUnless(shutil.which("kubectl"), "needs kubectl, of the package kubernetes-client")


def objects(text):
    """Those of several JSON texts, one after the other."""
    found, decoder = [], json.JSONDecoder()
    while text.strip():
        value, end = decoder.raw_decode(text.lstrip())
        found.append(value)
        text = text.lstrip()[end:]
    return found


def kubectl(*words, **options):
    return run("kubectl", *words, "--local", "-o", "json", env=clean_environment(KUBECONFIG="/dev/null"), **options)


def lacking(wanted, found, path=""):
    """Where `found` lacks what is in `wanted`."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [place for key in wanted for place in (
            lacking(wanted[key], found[key], path + "." + key) if key in found else [path + "." + key])]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        return [place for i, value in enumerate(wanted) for place in lacking(value, found[i], "%s[%d]" % (path, i))]
    return [] if wanted == found else [path]


def memory_max(config):
    """In MiB, from --print-dropin."""
    done = run(EDGEMINDD, "--config=%s" % config, "--print-dropin")
    return int(re.search(r"(?m)^MemoryMax=(\d+)M$", done.out)[1])


@needs_kubectl
class Kubernetes(TestCase):
    def manifest(self, name):
        """Its objects as written."""
        return objects(self.assertExit(0, kubectl("label", "-f", FLEET / name, "x=y")).out)

    def of_kind(self, kind):
        return next(o for name in MANIFESTS for o in self.manifest(name) if o["kind"] == kind)

    def known_fields_lack(self, an_object):
        """kubectl drops fields that it does not know when it decodes an object with its own types."""
        with open(self.directory() / "object.json", "w+", encoding="utf-8") as file:
            json.dump(an_object, file)
            file.seek(0)
            return lacking(an_object, json.loads(self.assertExit(0, kubectl("set", "env", "-f", "-", "A=B",
                                                                            stdin=file)).out))

    def test_kubectl_knows_every_field(self):
        for kind in ("DaemonSet", "Pod"):
            found = self.of_kind(kind)
            self.assertEqual(self.known_fields_lack(found), [])
        found["spec"]["containers"][0]["imagee"] = "misspelt"
        self.assertEqual(self.known_fields_lack(found), [".spec.containers[0].imagee"])

    def schemas(self):
        """The directory of validate.js, with the schemas that it needs."""
        place = BUILD / "fleet"
        for program in ("node", "npm"):
            if not shutil.which(program):
                self.skipTest(program + " is not installed")
        place.mkdir(parents=True, exist_ok=True)
        for file in (ROOT / "tests" / "fleet").iterdir():
            shutil.copy(file, place)
        if not (place / "node_modules" / "kubernetes-models").exists():
            try:
                done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent",
                                       "--fetch-retries=0", "--fetch-timeout=20000"], cwd=place,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                      stdin=subprocess.DEVNULL, timeout=NPM_SECONDS, check=False)
            except subprocess.TimeoutExpired:
                self.skipTest("npm does not answer")
            if done.returncode != 0:
                shutil.rmtree(place / "node_modules", ignore_errors=True)
                self.skipTest("npm cannot fetch kubernetes-models")
        return place

    def test_schemas(self):
        place = self.schemas()

        def wrong(found):
            done = subprocess.run(["node", "validate.js"], cwd=place, input=json.dumps(found), text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            return done.stdout
        for name in MANIFESTS:
            self.assertEqual(wrong(self.manifest(name)), "")
        daemon_set = self.of_kind("DaemonSet")
        del daemon_set["spec"]["selector"]
        self.assertIn("required property selector", wrong([daemon_set]))

    def test_limits(self):
        """Request and limit are what the daemon asks systemd for, with the same configuration."""
        text = self.of_kind("ConfigMap")["data"]["edgemindd.conf"]
        config = self.directory() / "edgemindd.conf"
        config.write_text(text)
        self.assertExit(0, run(EDGEMINDD, "--config=%s" % config, "--check-config"))
        resources = self.of_kind("DaemonSet")["spec"]["template"]["spec"]["containers"][0]["resources"]
        self.assertEqual(resources["requests"]["memory"], resources["limits"]["memory"])
        limit = int(re.fullmatch(r"(\d+)Mi", resources["limits"]["memory"])[1])
        if PAGE == 4096:
            self.assertEqual(limit, memory_max(config))
        else:  # the kernel's tables are smaller
            self.assertGreaterEqual(limit, memory_max(config))

    def test_paths(self):
        """Both pods mount what the configuration names."""
        text = self.of_kind("ConfigMap")["data"]["edgemindd.conf"]
        values = dict(re.findall(r"(?m)^([a-z-]+) = (.*)$", text))
        socket = pathlib.Path(values["socket"])
        for spec in (self.of_kind("DaemonSet")["spec"]["template"]["spec"], self.of_kind("Pod")["spec"]):
            mounts = {m["name"]: m["mountPath"] for m in spec["containers"][0]["volumeMounts"]}
            self.assertEqual(mounts["socket"], str(socket.parent))
            self.assertEqual(mounts["models"], values["model-dir"])
            host = {v["name"]: v.get("hostPath", {}).get("path") for v in spec["volumes"]}
            self.assertEqual((host["socket"], host["models"]), ("/run/edgemind", "/var/lib/edgemind/models"))


@unittest.skipUnless(shutil.which("ansible-playbook"), "needs ansible-playbook, of the package ansible-core")
class Ansible(TestCase):
    def ansible(self, *words, **variables):
        return run(*words, cwd=FLEET / "ansible", env=clean_environment(
            HOME=self.directory(), ANSIBLE_NOCOLOR="1", ANSIBLE_LOCALHOST_WARNING="0", LC_ALL="C.UTF-8", **variables))

    def test_syntax(self):
        self.assertExit(0, self.ansible("ansible-playbook", "-i", "inventory.yaml", "edgemind.yaml", "--syntax-check"))

    @unittest.skipUnless(shutil.which("ansible-lint"), "needs ansible-lint")
    def test_lint(self):
        self.assertExit(0, self.ansible("ansible-lint", "--offline", "--strict", "--nocolor", "edgemind.yaml"))

    def test_configure(self):
        """The tasks that configure a device are run, on this one, for directories of the test."""
        place = self.directory()
        # Variables on the command line take precedence over all others, so no directory of the machine is touched.
        variables = {"ansible_connection": "local", "ansible_become": False,
                     "ansible_python_interpreter": "/usr/bin/python3", "edgemind_restarts": False,
                     "edgemind_capacity": "3G", "edgemind_metrics_listen": "127.0.0.1:9464",
                     "edgemind_etc": str(place / "etc"), "edgemind_dropins": str(place / "dropins"),
                     "edgemind_models": str(place / "models")}
        result = self.assertExit(0, self.ansible(
            "ansible-playbook", "-i", "inventory.yaml", "--limit", "gateway", "--tags", "configure",
            "-e", json.dumps(variables), "edgemind.yaml",
            PATH="%s:/usr/bin:/bin:/usr/sbin:/sbin" % EDGEMINDD.parent))
        self.assertNotRegex(result.out, "failed=[1-9]")
        config = place / "etc" / "edgemindd.conf"
        self.assertIn("\ncapacity = 3G\n", config.read_text())
        self.assertIn("\nmetrics-listen = 127.0.0.1:9464\n", config.read_text())
        self.assertEqual((place / "dropins" / "limits.conf").read_text(),
                         run(EDGEMINDD, "--config=%s" % config, "--print-dropin").out)


if __name__ == "__main__":
    unittest.main()
