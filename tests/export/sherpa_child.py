"""Runs unmodified sherpa-onnx on a model: `sherpa_child.py MODEL NOISY.npy OFFLINE.npy ONLINE.npy`.

A process of its own, because sherpa-onnx ends its process where it cannot use a model.
"""

import sys

import numpy as np
import sherpa_onnx

model, noisy_path, offline_path, online_path = sys.argv[1:]
noisy = np.load(noisy_path)

offline_config = sherpa_onnx.OfflineSpeechDenoiserConfig()
offline_config.model.gtcrn.model = model
np.save(offline_path, sherpa_onnx.OfflineSpeechDenoiser(offline_config).run(noisy, 16_000).samples)

online_config = sherpa_onnx.OnlineSpeechDenoiserConfig()
online_config.model.gtcrn.model = model
online = sherpa_onnx.OnlineSpeechDenoiser(online_config)
parts = [online.run(block, 16_000).samples for block in np.split(noisy, range(1000, len(noisy), 1000))]
np.save(online_path, np.concatenate([*parts, online.flush().samples]))
