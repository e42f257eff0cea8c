"""The runtime stands without torch."""

import subprocess
import sys

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
import sottovoce.runtime
assert not [name for name in sys.modules if name.startswith("torch.")]
assert not {"scipy", "lhotse", "onnx"} & sys.modules.keys()
"""


def test_the_runtime_imports_where_torch_does_not():
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH], check=True)
