"""What others build libedgemind into their programs with: names, header, manual, installed files."""
import _ctypes
import ctypes
import errno
import os
import pathlib
import re
import shutil
import tempfile
import unittest

from harness import BUILD, ROOT, TestCase, clean_environment, run

SYMBOLS = ROOT / "debian" / "libedgemind0.symbols"
HEADER = ROOT / "client" / "library" / "edgemind.h"
LIBRARY = BUILD / "libedgemind.so"


class Linking(TestCase):
    """The installed header, libraries and pkg-config file."""

    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="em-"))
        self.addCleanup(shutil.rmtree, self.directory)
        if not LIBRARY.exists():
            self.skipTest("%s is not built" % LIBRARY)

    def done(self, *command, **options):
        result = run(*command, **options)
        self.assertEqual(result.code, 0, result)
        return result.out

    def test_exports(self):
        declared = set(re.findall(r"\b(edgemind_\w+)\(", re.sub(r"/\*.*?\*/", "", HEADER.read_text(),
                                                                flags=re.S)))
        exported = {line.split()[-1] for line in
                    self.done("nm", "-D", "--defined-only", LIBRARY).splitlines()}
        versions = dict(symbol.split("@@") for symbol in exported if "@@" in symbol)
        self.assertEqual(set(versions), declared)
        packaged = re.findall(r"(?m)^ (\w+)@(\w+) ", SYMBOLS.read_text())
        self.assertEqual({(name, versions.get(name, name)) for name in {*versions, *versions.values()}},
                         set(packaged))
        self.assertEqual([name for name in versions if versions[name] != "EDGEMIND_0"],
                         ["edgemind_acquire_units"])
        listed = self.done("nm", "--defined-only", "--extern-only", BUILD / "libedgemind.a")
        archived = {line.split()[-1] for line in listed.splitlines() if len(line.split()) == 3}
        self.assertEqual(archived, declared)
        self.assertIn("SONAME               libedgemind.so.0\n", self.done("objdump", "-p", LIBRARY))

    def test_it_stays_loaded(self):
        """After dlclose the handler for SIGBUS is still called."""
        _ctypes.dlclose(ctypes.CDLL(str(LIBRARY))._handle)
        self.assertIn("/libedgemind.so", pathlib.Path("/proc/self/maps").read_text())

    def test_manual_names_every_function(self):
        manual = (ROOT / "client" / "library" / "libedgemind.3").read_text()
        for name in re.findall(r"\b(edgemind_\w+)\(", HEADER.read_text()):
            self.assertIn(name, manual)

    def test_header_alone(self):
        header = self.directory / "edgemind.h"
        shutil.copy(HEADER, header)
        source = self.directory / "program"
        source.write_text("#include <edgemind.h>\nint main(void) { return edgemind_new() == 0; }\n")
        for compiler, language, standard in (("cc", "c", "c99"), ("c++", "c++", "c++11"),
                                             ("clang", "c++", "c++11")):
            if shutil.which(compiler):
                self.done(compiler, "-x", language, "-std=" + standard, "-Wall", "-Wextra", "-Werror",
                          "-pedantic", "-I", self.directory, "-fsyntax-only", source)

    @unittest.skipUnless(shutil.which("cc") and shutil.which("pkg-config"), "needs a compiler")
    def test_installed(self):
        root = self.directory / "root"
        environment = clean_environment()
        environment.pop("MAKEFLAGS", None)
        environment.pop("BUILD", None)
        prefix = (BUILD / "prefix").read_text().split()[0]  # with another prefix it would be built again
        words = ("BUILD=%s" % os.path.relpath(BUILD, ROOT), "DESTDIR=%s" % root, "PREFIX=%s" % prefix)
        self.done("make", "-s", "install", *words, cwd=ROOT, env=environment)
        installed = root / prefix.lstrip("/")
        library = installed / "lib"
        flags = self.done("pkg-config", "--cflags", "--libs", "edgemind", env=clean_environment(
            PKG_CONFIG_PATH=library / "pkgconfig", PKG_CONFIG_SYSROOT_DIR=root)).split()
        program = self.directory / "program"
        self.done("cc", "-o", program, "-x", "c", "-", *flags, stdin=self.source())
        self.assertEqual(run(program).code, 127)  # the loader does not find what is not installed
        self.done(program, env=clean_environment(LD_LIBRARY_PATH=library))
        static = self.done("pkg-config", "--libs", "jansson").split()
        self.done("cc", "-o", program, "-x", "c", "-", "-I", installed / "include", "-x", "none",
                  library / "libedgemind.a", *static, stdin=self.source())
        self.done(program)
        self.done("make", "-s", "uninstall", *words, cwd=ROOT, env=environment)
        left = [path for path in root.rglob("*") if not path.is_dir()]
        self.assertEqual(left, [root / "etc/edgemind/edgemindd.conf"])

    def source(self):
        """A program that links the static library may use the library's internal names itself."""
        path = self.directory / "program.c"
        path.write_text('#include <edgemind.h>\n'
                        'int varlink_connect(void); int varlink_connect(void) { return 3; }\n'
                        'const char *error_text(void); const char *error_text(void) { return ""; }\n'
                        'int main(void)\n{\n'
                        '    struct edgemind *em = edgemind_new();\n'
                        '    int r = edgemind_connect(em, "/nowhere/at/all");\n'
                        '    edgemind_free(em);\n'
                        '    return r != -%d || varlink_connect() != 3 || *error_text();\n}\n'
                        % errno.ENOENT)
        file = open(path)
        self.addCleanup(file.close)
        return file


if __name__ == "__main__":
    unittest.main()
