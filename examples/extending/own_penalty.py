"""A penalty of one's own: on noise all classes should be equally likely, by the KL divergence from uniform."""

import keras
import tensorflow as tf

import keras_acet as ka


@keras.saving.register_keras_serializable("own")
class KLFromUniform(ka.penalties.Penalty):
    """`KL(p(u_j), uniform) = log K - H(p(u_j))` for noise images `u_j`: 0 where all classes are equally likely."""

    def __init__(self, noise, **arguments):
        super().__init__(**arguments)
        self.noise = noise
        self.divergence = keras.metrics.Mean(name="kl_divergence")  # `fit` reports it

    def sample(self, images, network, *, step):
        return ka.penalties.Sample(self.noise(images))

    def loss(self, sample, logits, network):
        log_p = tf.nn.log_softmax(logits)
        return tf.math.log(float(logits.shape[1])) + tf.reduce_sum(tf.exp(log_p) * log_p, axis=1)

    def update_metrics(self, sample, losses):
        self.divergence.update_state(losses)

    def get_config(self):
        return {**super().get_config(), "noise": keras.saving.serialize_keras_object(self.noise)}


if __name__ == "__main__":
    data = ka.datasets.load("digits")
    model = ka.ACETModel(ka.networks.mlp(data.image_shape, data.num_classes), KLFromUniform(ka.noise.PaperNoise()))
    model.compile(optimizer="adam", metrics=["accuracy"])
    history = model.fit(data.train, epochs=3, verbose=0, shuffle=False).history
    print(f"KL divergence on noise: {history['kl_divergence'][0]:.3f}, then {history['kl_divergence'][-1]:.3f}")
