"""emctl map --svg: the picture is well-formed, harmless, and shows what is in the arena."""
import collections
import re
import shutil
import subprocess
import xml.etree.ElementTree

from harness import MIB, sized_model, wait_until
from leasing import LeaseTestCase

SVG = "{http://www.w3.org/2000/svg}"
CELLS = 76 * 16
FREE = "#e8e8e8"


class Map(LeaseTestCase):
    def setUp(self):
        super().setUp()
        self.daemon = self.start(capacity="50M", policy="lru", commit="load")
        self.file = self.directory() / "map.svg"

    def draw(self):
        self.assertExit(0, self.daemon.emctl("map", "--svg", self.file))
        return xml.etree.ElementTree.parse(self.file).getroot()

    @staticmethod
    def cells(root):
        """How many cells of the map there are of each fill and stroke. The map is above the signs."""
        signs = min(float(text.get("y")) for text in root.findall(SVG + "text") if text.text == "resident") - 12
        return collections.Counter(
            (rect.get("fill"), rect.get("stroke")) for rect in root.findall(SVG + "rect")
            if rect.get("width") == "11" and float(rect.get("y")) < signs)

    def texts(self, root):
        return [text.text for text in root.findall(SVG + "text")]

    def test_cells(self):
        self.daemon.call("LoadModel", definition=sized_model("large", *[5 * MIB] * 4))
        self.daemon.call("LoadModel", definition=sized_model("small", 5 * MIB))
        self.daemon.call("LoadModel", definition=sized_model("absent", MIB))
        self.daemon.call("UnloadLayer", model="absent", layer="l0")
        self.client().lease(model="large", layer="l1")
        root = self.draw()
        cells = self.cells(root)
        self.assertEqual(sum(cells.values()), CELLS)
        shares = {("#4477aa", "#000"): 0.1, ("#4477aa", None): 0.3, ("#ee6677", None): 0.1, (FREE, None): 0.5}
        self.assertEqual(set(cells), set(shares))
        for key, share in shares.items():
            self.assertAlmostEqual(cells[key], CELLS * share, delta=1)
        texts = self.texts(root)
        self.assertTrue(any(text.startswith("25.0 MiB of 50.0 MiB used, 5.0 MiB leased; RSS ") for text in texts))
        models = [text for text in texts if text in ("large", "small", "absent")]
        self.assertEqual(models, ["large", "small", "absent"])
        self.assertIn("20.0 MiB of 20.0 MiB, hits 1, misses 4, read 20.0 MiB, leases 1, runs 0", texts)

    def test_empty_and_full(self):
        self.assertEqual(self.cells(self.draw()), {(FREE, None): CELLS})
        self.daemon.call("LoadModel", definition=sized_model("m", 50 * MIB))
        self.assertEqual(self.cells(self.draw()), {("#4477aa", None): CELLS})

    def test_the_last_hour(self):
        """Lines for RSS and arena, and the capacity above them."""
        self.daemon.call("LoadModel", definition=sized_model("m", 20 * MIB))
        wait_until(lambda: self.daemon.call("History")["points"][-1]["arenaFileBytes"] == 20 * MIB, "a sample")
        root = self.draw()
        arena, rss = (path.get("d") for path in root.findall(SVG + "path"))
        capacity = float(root.find(SVG + "line").get("y1"))
        heights = [float(re.fullmatch(r"M\S+ (\S+)H\S+.*", path).group(1)) for path in (arena, rss)]
        self.assertLess(capacity, heights[1])
        self.assertLess(heights[1], heights[0])
        self.assertIn("capacity 50.0 MiB (red)", self.texts(root))

    def test_many_models(self):
        for i in range(40):
            self.daemon.call("LoadModel", definition=sized_model("model %d" % i, MIB + 4096 * i))
        texts = self.texts(self.draw())
        self.assertEqual(sum(text.startswith("model ") for text in texts), 26)
        self.assertIn("and 14 more models", texts)

    def test_hostile_names(self):
        names = ["<script>alert(1)</script>", "&quot;\"'", "\u6a21\u578b" * 30]
        for name in names:
            self.daemon.call("LoadModel", definition=sized_model(name.replace("/", "_"), MIB))
        root = self.draw()
        self.assertEqual({element.tag for element in root.iter()} - {SVG + tag for tag in (
            "svg", "rect", "text", "defs", "pattern", "path", "line")}, set())
        texts = self.texts(root)
        self.assertIn("<script>alert(1)<_script>", texts)
        self.assertIn("&quot;\"'", texts)
        self.assertIn("\u6a21\u578b" * 7 + "\u2026", texts)

    def test_rendered(self):
        if not shutil.which("rsvg-convert"):
            self.skipTest("needs rsvg-convert")
        self.daemon.call("LoadModel", definition=sized_model("m", 25 * MIB))
        self.draw()
        done = subprocess.run(["rsvg-convert", self.file], stdout=subprocess.PIPE, check=True)
        self.assertEqual(done.stdout[:8], b"\x89PNG\r\n\x1a\n")

    def test_what_goes_wrong(self):
        self.assertIn("--svg", self.assertExit(2, self.daemon.emctl("map")).err)
        result = self.assertExit(1, self.daemon.emctl("map", "--svg=/nowhere/m.svg"))
        self.assertIn("cannot write /nowhere/m.svg", result.err)
        self.assertIn("No space left", self.assertExit(1, self.daemon.emctl("map", "--svg=/dev/full")).err)
        self.assertExit(3, self.daemon.emctl("--socket=/nowhere/s", "map", "--svg", self.file))
        self.assertFalse(self.file.exists())
