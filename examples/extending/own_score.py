"""A score of one's own: the gap between the two largest logits, measured and exported like the confidence."""

import keras
import tensorflow as tf

import keras_acet as ka


@keras.saving.register_keras_serializable("own")
class Margin(ka.scores.Score):
    """`z_(1) - z_(2)`, the gap between the two largest logits; 0 at a tie."""

    name = "margin"
    lowest = 0.0

    def __call__(self, logits):
        largest = tf.math.top_k(logits, k=2).values
        return largest[:, 0] - largest[:, 1]


if __name__ == "__main__":
    data = ka.datasets.load("digits", calibration_fraction=0.1)
    model = ka.ACETModel(ka.networks.mlp(data.image_shape, data.num_classes))
    model.compile(optimizer="adam", metrics=["accuracy"])
    model.fit(data.train, epochs=3, verbose=0, shuffle=False)
    protocol = ka.evaluation.Protocol(score=Margin(), num_noise=32, num_adversarial=0, num_trials=0, num_bounded=0)
    print(ka.evaluate(model, data, protocol))
    print("Verified:", ka.export_model(model, data, "export", name="own", protocol=protocol))
