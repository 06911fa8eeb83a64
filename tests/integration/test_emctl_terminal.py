"""emctl on a terminal: colour, width, progress, and names that would control it."""
import json
import unittest

import wire
from harness import FFN10, MIB, TestCase, sized_model
from terminal import on_terminal


class Terminal(TestCase):
    options = {"capacity": "50M"}

    def test_colour(self):
        self.daemon.call("LoadModel", definition=sized_model("m", MIB))
        _, text = on_terminal(self.daemon.socket, "list", "m", NO_COLOR="1")
        self.assertNotRegex(text, "\x1b\\[[0-9;]*m")
        for words in (["list", "m"], ["stats"]):
            self.assertNotIn("\x1b", self.daemon.emctl(*words).out)  # no terminal, no colour

    def test_narrow(self):
        name = "a-model-with-quite-a-long-name"
        self.daemon.call("LoadModel", definition=sized_model(name, 1, 2, 3))
        for columns in (40, 80, 200):
            for words in (["list"], ["list", name], ["stats"]):
                with self.subTest(columns=columns, words=words):
                    code, text = on_terminal(self.daemon.socket, *words, columns=columns,
                                             NO_COLOR="1")
                    self.assertEqual(code, 0)
                    if columns >= 80:
                        self.assertLessEqual(max(map(len, text.splitlines())), columns, text)

    def test_progress(self):
        code, text = on_terminal(self.daemon.socket, "load-model", FFN10)
        self.assertEqual(code, 0, text)
        self.assertIn("\r", text)
        result = self.daemon.emctl("load-layer", "ffn10", "dense_0")
        self.assertNotIn("\r", result.out + result.err)
        self.assertExit(0, self.daemon.emctl("unload-model", "ffn10"))
        result = self.assertExit(0, self.daemon.emctl("load-model", FFN10))  # no terminal, no bar
        self.assertNotIn("\r", result.out + result.err)

    def test_hostile_names(self):
        """A name may have any characters, but none may control the terminal."""
        definition = json.dumps({"name": "evil\x1b]0;x\x07\n\u202e", "layers":
                                 [{"name": "\x1b[2Jl\r\n\t", "bytes": 1}]})
        try:
            self.daemon.call("LoadModel", definition=definition)
        except wire.VarlinkError as refused:
            self.assertEqual(refused.error, "InvalidDefinition")  # as good
            return
        name = self.daemon.call("List")["models"][0]["name"]
        for words in (["list"], ["list", name], ["list", "--json"],
                      ["unload-layer", name, "x\x1b[2J"]):
            _, text = on_terminal(self.daemon.socket, *words, NO_COLOR="1")
            for order in ("\x1b]", "\x1b[2J", "\x07"):
                self.assertNotIn(order, text)


if __name__ == "__main__":
    unittest.main()
