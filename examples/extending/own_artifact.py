"""An artifact of one's own: the weights of a linear network as .npz, which NumPy alone runs."""

import keras
import numpy as np

import keras_acet as ka


def load(path):
    import numpy as np  # this function runs alone, in a process without keras_acet

    weights = dict(np.load(path))

    def run(signature, inputs):
        images = inputs["images"].reshape(-1, len(weights["kernel"]))
        inside = np.clip(images, 0, 1)
        usable = np.abs(images - inside).sum(axis=1) <= 1e-3  # false for NaN
        logits = np.where(usable[:, None], np.nan_to_num(inside) @ weights["kernel"] + weights["bias"], 0)
        logits = logits.astype(np.float32)
        powers = np.exp((logits - logits.max(axis=1, keepdims=True)) / weights["temperature"])
        p = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        outputs = {"label": logits.argmax(axis=1), "confidence": p.max(axis=1), "probabilities": p, "logits": logits}
        return {**outputs, "accepted": usable & (p.max(axis=1) >= weights["threshold"])}

    return run


class LinearWeights(ka.export.Artifact):
    name, file, runtimes = "npz", "linear.npz", {"numpy": load}

    def write(self, folder, subject):
        weights = dict(zip(("kernel", "bias"), subject.model.network.get_weights(), strict=True))
        decision = {"temperature": subject.model.temperature, "threshold": np.float32(subject.model.threshold)}
        np.savez(folder / self.file, **weights, **decision)


if __name__ == "__main__":
    data = ka.datasets.load("digits", calibration_fraction=0.1)
    network = keras.Sequential([keras.Input(data.image_shape), keras.layers.Flatten(), keras.layers.Dense(10)])
    print("Verified:", ka.export_model(network, data, "export", name="own", formats=[LinearWeights()]))
