"""The Debian packages: packages_test.py SOURCE BUILD. Builds a release and packs it below BUILD, or in SLUICE_PACKAGE_BUILD, where one is built
already (cmake --preset package), then looks into each package and runs what is in it from a folder of its own. With SLUICE_LONG=1, as root, with debootstrap and its mirror within reach, they are
installed into a bare Debian by dpkg and run there. Exit status 77: skipped, for want of cpack or dpkg's tools."""

import fnmatch
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

import sluice_daemon

SOURCE, BUILD = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
PACKED = pathlib.Path(os.environ.get("SLUICE_PACKAGE_BUILD") or BUILD / "packages").resolve()
TARGETS = ["sluiced", "sluice_cli", "sluice", "sluice_static", "sluice-files", "sluice_completion", "sluice_yaml_page"]
PACKAGES = ("sluice", "libsluice0", "libsluice-dev")
NEEDED_TOOLS = ("cmake", "cpack", "dpkg-deb", "dpkg-shlibdeps", "dpkg", "readelf", "cc", "pkg-config")
CONFIGURATION = """
functions: {keep: {command: [cat], protocol: stdio}}
rules: {all: {pattern: {source: [test]}, targets: [{function: keep}]}}
"""


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise AssertionError(f"{command} exits {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def build():
    """The packages by name. Nothing is built again that is up to date."""
    run("cmake", "-S", SOURCE, "-B", PACKED, "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_INSTALL_PREFIX=/usr",
        "-DCMAKE_SKIP_INSTALL_ALL_DEPENDENCY=ON")
    run("cmake", "--build", PACKED, "--target", *TARGETS)
    for old in PACKED.glob("*.deb"):
        old.unlink()
    run("cpack", cwd=PACKED)
    return {path.name.split("_")[0]: path for path in PACKED.glob("*.deb")}


def field(package, name):
    return run("dpkg-deb", "-f", package, name).strip()


def names_in(depends):
    return {re.match(r"[a-z0-9.+-]+", word.strip()).group() for word in re.split("[,|]", depends) if word.strip()}


def needed(program):
    return re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-d", program))


class Packages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.packages = build()
        folder = tempfile.TemporaryDirectory(prefix="sluice-packages-")
        cls.addClassCleanup(folder.cleanup)
        cls.roots = {}
        for name, package in cls.packages.items():
            cls.roots[name] = pathlib.Path(folder.name, name)
            run("dpkg-deb", "-x", package, cls.roots[name])
        cls.all = pathlib.Path(folder.name, "all")
        for package in cls.packages.values():
            run("dpkg-deb", "-x", package, cls.all)
        cls.library = next(cls.all.glob("usr/lib/*/libsluice.so.0")).parent

    def given_program(self, text):
        """`text` compiled with what the development package says; returns its path."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-program-"))
        self.addCleanup(shutil.rmtree, folder)
        (folder / "program.c").write_text(text)
        flags = run("pkg-config", "--cflags", "--libs", "sluice",
                    env={**os.environ, "PKG_CONFIG_PATH": str(self.library / "pkgconfig")}).split()
        run("cc", "-Wall", "-Wextra", "-Werror", "-o", folder / "program", folder / "program.c", *flags)
        return folder / "program"

    def test_there_are_three_of_one_version(self):
        self.assertEqual(set(PACKAGES), set(self.packages))
        versions = {field(package, "Version") for package in self.packages.values()}
        self.assertEqual({re.search(r"project\(sluice VERSION ([\d.]+)", (SOURCE / "CMakeLists.txt").read_text()).group(1)}, versions)

    def test_each_file_is_in_the_package_where_it_belongs(self):
        expected = {
            "sluice": ["usr/sbin/sluiced", "usr/bin/sluice", "usr/bin/sluice-files", "etc/sluice/sluice.yaml",
                       "usr/lib/systemd/system/sluiced.service", "usr/lib/systemd/system/sluice-files@.service",
                       "usr/lib/systemd/system/sluice-consumer@.service",
                       "usr/lib/sysusers.d/sluice.conf", "usr/lib/tmpfiles.d/sluice.conf",
                       "usr/share/bash-completion/completions/sluice", "usr/share/man/man1/sluice.1", "usr/share/man/man1/sluice-files.1",
                       "usr/share/man/man5/sluice.yaml.5", "usr/share/man/man8/sluiced.8", "usr/share/doc/sluice/examples/sluice.yaml"],
            "libsluice0": ["usr/lib/*/libsluice.so.0", "usr/lib/*/libsluice.so.*.*.*"],
            "libsluice-dev": ["usr/include/sluice/producer.h", "usr/include/sluice/function.h", "usr/include/sluice/error.h",
                              "usr/lib/*/libsluice.so", "usr/lib/*/libsluice.a", "usr/lib/*/pkgconfig/sluice.pc",
                              "usr/lib/*/cmake/sluice/sluice-config.cmake", "usr/share/man/man3/libsluice.3",
                              "usr/share/man/man3/sluice_publish.3", "usr/share/man/man3/sluice_function_run.3"],
        }
        files = {name: [str(path.relative_to(root)) for path in root.rglob("*") if path.is_symlink() or path.is_file()]
                 for name, root in self.roots.items()}
        for name, patterns in expected.items():
            for pattern in [*patterns, f"usr/share/doc/{name}/copyright"]:
                with self.subTest(package=name, file=pattern):
                    self.assertEqual(1, len(fnmatch.filter(files[name], pattern)))
        everything = sum(files.values(), [])
        self.assertEqual(len(everything), len(set(everything)), "a file is in two packages")

    def test_what_is_linked_is_what_is_depended_on(self):
        checked = 0
        for name, root in self.roots.items():
            depends = names_in(field(self.packages[name], "Depends"))
            for path in root.rglob("*"):
                if path.is_symlink() or not path.is_file() or path.read_bytes()[:4] != b"\x7fELF":
                    continue
                checked += 1
                for library in needed(path):
                    owners = {line.split(":")[0] for line in run("dpkg", "-S", f"*/{library}").splitlines()}
                    with self.subTest(file=path.name, library=library):
                        self.assertTrue(owners & depends, f"{library} is of {owners}, the package depends on {depends}")
                        self.assertNotRegex(library, "asan|ubsan|systemd")
        self.assertEqual(4, checked)
        self.assertEqual({"libsluice0", "libnng-dev"}, names_in(field(self.packages["libsluice-dev"], "Depends")))

    def test_nothing_of_the_machine_that_built_it_is_in_it(self):
        for root in self.roots.values():
            for path in root.rglob("*"):
                if path.is_file() and not path.is_symlink() and path.suffix != ".a":
                    with self.subTest(file=path.name):
                        self.assertNotIn(str(PACKED).encode(), path.read_bytes())

    def test_scripts_and_the_configuration_file_are_declared(self):
        control = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, control)
        run("dpkg-deb", "-e", self.packages["sluice"], control)
        self.assertEqual("/etc/sluice/sluice.yaml\n", (control / "conffiles").read_text())
        for script in ("postinst", "prerm", "postrm"):
            self.assertTrue(os.access(control / script, os.X_OK), script)
        run(self.all / "usr/bin/sluice", "config", "check", self.all / "etc/sluice/sluice.yaml")
        completion = self.all / "usr/share/bash-completion/completions/sluice"
        self.assertEqual(run(self.all / "usr/bin/sluice", "help", "--completion"), completion.read_text())

    def test_the_packed_daemon_runs_from_its_folder(self):
        """And programs built with the packed library and headers: the examples of libsluice(3)."""
        page = (self.all / "usr/share/man/man3/libsluice.3").read_text()
        producer, function = [example.replace(r"\e", "\\") for example in
                              re.findall(r"^(#include.*?)^\.Ed", page[page.index(".Sh EXAMPLES"):], re.S | re.M)]
        function = self.given_program(function)
        producer = self.given_program(producer)
        self.assertIn("libsluice.so.0", needed(producer))
        folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-"))
        self.addCleanup(shutil.rmtree, folder)
        (folder / "sluice.yaml").write_text(f"""
listen: {{bus: "ipc://{folder}/bus.sock"}}
functions: {{paid: {{command: [{function}], protocol: native, environment: {{LD_LIBRARY_PATH: {self.library}}}}}}}
rules: {{all: {{pattern: {{source: [shop]}}, targets: [{{function: paid}}]}}}}
""")
        environment = {**os.environ, "SLUICE_URL": f"ipc://{folder}/bus.sock", "LD_LIBRARY_PATH": str(self.library)}
        log = open(folder / "log", "w+", encoding="utf-8")
        self.addCleanup(log.close)
        daemon = subprocess.Popen([self.all / "usr/sbin/sluiced", "--config", folder / "sluice.yaml", "--data", folder / "data"],
                                  stderr=log, env=environment)
        def ready():
            self.assertIsNone(daemon.poll(), (folder / "log").read_text())
            return "\nready " in "\n" + (folder / "log").read_text()
        try:
            sluice_daemon.wait_until(ready, "ready")
            run(producer, env=environment)
            def done():
                return '"succeeded":1,' in run(self.all / "usr/bin/sluice", "balance", "--json", env=environment).replace(" ", "")
            sluice_daemon.wait_until(done, "the function has it", about=lambda: (folder / "log").read_text())
        finally:
            daemon.send_signal(signal.SIGTERM)
            self.assertEqual(0, daemon.wait(30))

    def test_they_install_and_run_on_a_bare_debian(self):
        if os.environ.get("SLUICE_LONG") != "1":
            self.skipTest("the bare root is of the long form: SLUICE_LONG=1")
        if os.geteuid() != 0 or shutil.which("debootstrap") is None:
            self.skipTest("a bare root needs root and debootstrap")
        root = pathlib.Path(tempfile.mkdtemp(prefix="sluice-root-"))
        self.addCleanup(shutil.rmtree, root, ignore_errors=True)
        root.chmod(0o755)
        depends = set().union(*(names_in(field(package, "Depends")) for package in self.packages.values())) - set(PACKAGES)
        site = run("sh", "-c", "apt-get indextargets --format '$(SITE)' 'Codename: bookworm' | head -n 1").strip()
        boot = subprocess.run(["debootstrap", "--variant=minbase", f"--include={','.join(sorted(depends))}", "bookworm", str(root),
                               *([site] if site else [])], capture_output=True, text=True)
        if boot.returncode != 0:
            self.skipTest(f"no bare root, debootstrap says: {(boot.stdout + boot.stderr).strip().splitlines()[-1:]}")
        for package in self.packages.values():
            shutil.copy(package, root / "tmp")
        inside = ["unshare", "--mount", "--pid", "--fork", "chroot", root]  # what is left running ends with it
        run(*inside, "sh", "-c", "dpkg -i /tmp/*.deb")
        self.assertIn("/var/lib/sluice", run(*inside, "getent", "passwd", "sluice"))
        self.assertEqual(0o750, (root / "etc/sluice").stat().st_mode & 0o777)
        (root / "etc/sluice/own.yaml").write_text(CONFIGURATION)
        (root / "etc/sluice/own.yaml").chmod(0o644)
        # As the unit does it: the user, the runtime folder.
        script = """set -e
            mount -t proc proc /proc
            install -d -o sluice -g sluice -m 0700 /run/sluice
            setpriv --reuid sluice --regid sluice --init-groups sluiced --config /etc/sluice --data /var/lib/sluice 2>/tmp/log & daemon=$!
            until grep -q '^ready ' /tmp/log; do kill -0 $daemon; sleep 0.05; done
            sluice event put --source test --type t --detail '{}'
            until sluice balance --json | grep -q '"succeeded": *1,'; do kill -0 $daemon; sleep 0.05; done
            kill -TERM $daemon
            wait $daemon
            grep 'event=stopped' /tmp/log"""
        try:
            run(*inside, "sh", "-c", script, timeout=120)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            log = root / "tmp/log"
            raise AssertionError(f"{error}\n{log.read_text() if log.exists() else ''}") from error
        (root / "etc/sluice/own.yaml").unlink()
        run(*inside, "dpkg", "--purge", *PACKAGES)
        self.assertFalse((root / "etc/sluice").exists())
        self.assertTrue((root / "var/lib/sluice").exists(), "events are never removed by a package")


if __name__ == "__main__":
    missing = [tool for tool in NEEDED_TOOLS if shutil.which(tool) is None]
    if missing:
        print(f"skipped: {', '.join(missing)} not installed")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1], verbosity=2)
