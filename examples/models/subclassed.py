"""
Subclassed model
================

tfviz traces the code of subclassed models and custom layers, and compares the trace with the model.
Inner layers are addressed by their paths.
"""

import keras

import tfviz
from tfviz.shapes import KINDS, SAMPLES_DIR


class Classifier(keras.Model):
    def __init__(self, backbone, head):
        super().__init__()
        self.backbone, self.head = backbone, head

    def call(self, images):
        features = keras.ops.mean(self.backbone(images), axis=(1, 2))
        return keras.ops.softmax(self.head(features))


packaged = tfviz.load_model("shapes")
backbone = keras.Model(packaged.input, packaged.get_layer("block4_conv2").output, name="backbone")
model = Classifier(backbone, packaged.get_layer("logits"))
images = tfviz.load_images([SAMPLES_DIR / "heart_star.png", SAMPLES_DIR / "ring_cross.png"], packaged)
model(images)  # a subclassed model is built by its first call

# %%
explainer = tfviz.GradCAM(model, class_names=KINDS)
figure = tfviz.plot(images, {"grad_cam": explainer(images, target="top2")})
figure
