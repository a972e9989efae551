"""PESQ of one pair of signals, in this process or, run as a script, in one of its own.

The code of ITU-T P.862 has room for 50 utterances and writes past its end from there on. What an
utterance takes, 0.2 s of speech and a longer pause, makes recordings up to ``SAFE_SECONDS``
harmless; a longer one is measured in a process that may die.

As a script it loads neither torch nor vqkit. Arguments: rate in Hz, mode, number of samples; on
stdin the samples of the target, then those of the reconstruction, as doubles; on stdout the score.
"""

import subprocess
import sys

import numpy as np

__all__ = ["SAFE_SECONDS", "pesq_score", "pesq_score_apart"]

SAFE_SECONDS = 19.0


def pesq_score(
    target: np.ndarray, reconstruction: np.ndarray, sample_rate_hz: int, mode: str
) -> float:
    """The score, or NaN without an utterance. Mode is ``wb`` or ``nb``."""
    from pesq import NoUtterancesError, pesq

    try:
        return float(pesq(sample_rate_hz, target, reconstruction, mode))
    except NoUtterancesError:
        return float("nan")


def pesq_score_apart(
    target: np.ndarray, reconstruction: np.ndarray, sample_rate_hz: int, mode: str
) -> float | None:
    """The same from a process of its own; None when that died."""
    # -P: the modules beside this file must not hide those of the same names elsewhere.
    command = [sys.executable, "-P", __file__, str(sample_rate_hz), mode, str(len(target))]
    samples = np.concatenate((target, reconstruction)).astype(np.float64).tobytes()
    done = subprocess.run(command, input=samples, stdout=subprocess.PIPE)
    return float(done.stdout) if done.returncode == 0 else None


def _main() -> None:
    rate, mode, num_samples = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    samples = np.frombuffer(sys.stdin.buffer.read(), np.float64)
    print(pesq_score(samples[:num_samples], samples[num_samples:], rate, mode))


if __name__ == "__main__":
    _main()
