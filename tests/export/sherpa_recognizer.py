"""What unmodified sherpa-onnx hears: `sherpa_recognizer.py MODEL TOKENS WAVE.npy ...` prints a JSON list of texts.

The waves are one batch. A process of its own, because sherpa-onnx ends its process where it cannot use a model.
"""

import json
import sys

import numpy as np
import sherpa_onnx

model, tokens, *waves = sys.argv[1:]
recognizer = sherpa_onnx.OfflineRecognizer.from_zipformer_ctc(model=model, tokens=tokens)
streams = [recognizer.create_stream() for _ in waves]
for stream, wave in zip(streams, waves, strict=True):
    stream.accept_waveform(16_000, np.load(wave))
recognizer.decode_streams(streams)
print(json.dumps([stream.result.text for stream in streams]))
