"""What a report says of its machine, and what importing the package costs."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import torch

from vqkit.evaluation import Environment


def test_describes_this_process():
    environment = Environment.current(torch.device("cpu"))
    age = datetime.now(UTC) - datetime.fromisoformat(environment.date)
    assert timedelta(seconds=-1) < age < timedelta(minutes=1)
    assert environment.num_threads == torch.get_num_threads()
    assert environment.versions["torch"] == torch.__version__.split("+")[0]
    assert environment.versions["python"] == sys.version.split()[0]
    assert "cores" in environment.cpu
    assert environment.cpu.split("(")[0].strip()


def test_import_pulls_in_neither_training_nor_plotting():
    code = (
        "import sys, vqkit.evaluation, vqkit.metrics\n"
        "heavy = ('lightning', 'hydra', 'omegaconf', 'matplotlib', 'torchmetrics', 'torchvision',"
        " 'vqkit.training', 'vqkit.data')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=True
    )
    assert result.stdout.strip() == "[]", result.stderr
