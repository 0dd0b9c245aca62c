import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset

import dpq.method.dpq
from dpq import DPQ, DPQConfig, InputError
from dpq.learning.backbone import Backbone
from dpq.learning.settings import Execution
from dpq.method.label_vectors import orthonormal_label_vectors
from dpq.protocols.base import Split
from dpq.protocols.store.read import StoredImages

NAMES = ("cat", "dog", "owl")
CLASS = np.arange(48) % 3
SMALL = dict(weights=None, bits=8, codebook_size=16, embedding_dim=8, image_size=32, epochs=2, batch_size=16)


def make(**changes):
    return DPQ("test_resnet", **(SMALL | {"device": "cpu"} | changes))


@pytest.fixture(scope="module")
def images():
    """48 images of 3 colours, 20 x 24 pixels."""
    random = np.random.default_rng(0)
    noise = random.integers(-60, 60, (48, 20, 24, 3))
    return (np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]])[CLASS][:, None, None] + noise).astype(np.uint8)


@pytest.fixture(scope="module")
def labels():
    return [NAMES[c] for c in CLASS]


@pytest.fixture(scope="module")
def model(images, labels):
    return make().fit(images, labels)


@pytest.fixture(scope="module")
def codes(model, images):
    return model.encode(images)


@pytest.fixture
def saved(model, tmp_path):
    model.save(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.fixture(scope="module")
def folder(images, labels, tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        (root / label).mkdir(exist_ok=True)
        Image.fromarray(image).save(root / label / f"{index:02}.png")
    (root / "notes.txt").write_text("no image")
    return root


class Pairs(Dataset):
    classes = NAMES

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return Image.fromarray(self.images[index]), int(CLASS[index])


class Stream(IterableDataset):
    def __init__(self, images):
        self.images = images

    def __iter__(self):
        return iter(self.images)


def same_tensors(one, other):
    mine, theirs = one.method.state_dict(), other.method.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_codes_of_every_length_from_one_training(model, codes, images):
    assert codes.shape == (48, 2) and codes.dtype == torch.uint8 and codes.device.type == "cpu"
    assert torch.equal(model.encode(images, bits=4), codes[:, :1])
    assert len(codes.unique(dim=0)) > 1
    assert model.decode(codes.numpy()).shape == (48, 8)


def test_search_by_codes_is_that_of_the_method(model, codes, images):
    expected = model.method.quantizer.decode(codes).detach()
    assert torch.equal(model.decode(codes), expected)
    assert torch.equal(model.decode(codes[:, :1]), model.codebooks[0][codes[:, 0].long()])


def test_fit_is_the_training_of_the_benchmarks(images, labels, model):
    side = model.side
    resized = np.stack([np.asarray(Image.fromarray(i).resize((side, side), Image.Resampling.BILINEAR)) for i in images])
    split = Split(
        torch.from_numpy(resized).permute(0, 3, 1, 2).contiguous(),
        torch.nn.functional.one_hot(torch.from_numpy(CLASS), 3).bool(),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(dpq.seeds.derive_seed(0, "weights"))
        backbone = Backbone("test_resnet", 3, 8, model.training.dropout)
        method = dpq.method.dpq.DPQMethod(
            backbone, orthonormal_label_vectors(3, 8), model.config, bits=8, codebook_size=16
        )
    method.fit(split, model.training, 0, Execution(progress=False))
    assert torch.equal(method.codebooks, model.codebooks)
    assert torch.equal(method.encode(method.embed(split.images)), model.encode(images, batch_size=128))


@pytest.mark.parametrize(
    "form",
    [
        lambda images, folder: torch.from_numpy(images).permute(0, 3, 1, 2),
        lambda images, folder: list(torch.from_numpy(images).permute(0, 3, 1, 2)),
        lambda images, folder: (Image.fromarray(image) for image in images),
        lambda images, folder: [str(next(folder.rglob(f"{index:02}.png"))) for index in range(48)],
        lambda images, folder: Pairs(images),
        lambda images, folder: Stream(images),
    ],
    ids=["tensor", "tensors", "generator", "files", "pairs", "iterable-dataset"],
)
def test_one_image_has_one_code_in_every_form(model, codes, images, folder, form):
    assert torch.equal(model.encode(form(images, folder)), codes)


def test_a_folder_is_read_in_the_order_of_its_list(model, codes, folder):
    files = dpq.inputs.images.list_images(folder)
    order = [int(file.stem) for file in files]
    assert order != sorted(order)
    assert torch.equal(model.encode(folder), codes[order])
    assert torch.equal(model.encode(folder, workers=2), codes[order])


def test_grey_images_and_single_ones(model, images):
    grey = images[:4, :, :, 0]
    expected = model.encode(np.stack([grey] * 3, axis=-1))
    assert torch.equal(model.encode(grey), expected)
    assert torch.equal(model.encode(torch.from_numpy(grey)[:, None]), expected)
    assert torch.equal(model.encode([Image.fromarray(grey[0]), grey[1], grey[2][:, :, None], grey[3]]), expected)
    assert torch.equal(model.encode(Image.fromarray(images[0])), model.encode(images[:1]))


def test_no_image_has_no_codes(model):
    assert model.encode([], bits=4).shape == (0, 1)
    assert model.embed([]).shape == (0, 8)


def test_batches_are_read_when_their_turn_comes(model, images):
    read, embedded = [], []

    def source():
        for index, image in enumerate(images):
            read.append(index)
            yield image

    batches = model._embedded(source(), 10, 0)
    for batch in batches:
        embedded.append(batch)
        assert len(read) == min(10 * len(embedded), 48)
    assert len(embedded) == 5


def test_batch_size_changes_embeddings_in_their_last_digits_alone(model, images):
    torch.testing.assert_close(model.embed(images, batch_size=7), model.embed(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "source",
    [
        lambda images, labels: dict(images=images, labels=CLASS, classes=NAMES),
        lambda images, labels: dict(images=images, labels=torch.eye(3, dtype=torch.bool)[CLASS], classes=NAMES),
        lambda images, labels: dict(images=Pairs(images)),
    ],
    ids=["integers", "matrix", "pairs"],
)
def test_labels_in_every_form_give_the_same_model(model, images, labels, source):
    other = make().fit(**source(images, labels))
    assert other.classes == NAMES
    assert same_tensors(other, model)


def test_a_folder_of_class_folders_brings_its_labels(model, images, labels, folder):
    order = [int(file.stem) for file in dpq.inputs.images.list_images(folder)]
    from_folder, expected = make().fit(folder), make().fit(images[order], [labels[i] for i in order])
    assert from_folder.classes == NAMES
    assert same_tensors(from_folder, expected)
    assert not same_tensors(from_folder, model)


def test_images_on_disk_train_as_those_in_memory(model, images, labels, monkeypatch):
    kept = []
    monkeypatch.setattr("dpq.inputs.training.keep_images.__defaults__", (0,))
    read = StoredImages.__getitem__
    monkeypatch.setattr(StoredImages, "__getitem__", lambda self, rows: kept.append(rows) or read(self, rows))
    assert same_tensors(make().fit(images, labels), model)
    assert kept


def test_seeds_and_the_callers_generator(model, images, labels):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    assert not same_tensors(make().fit(images, labels, seed=1), model)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_several_labels_an_image(images):
    several = torch.eye(3, dtype=torch.bool)[CLASS]
    several[:, 0] = True
    model = make().fit(images, several)
    assert model.classes == ("0", "1", "2")
    assert model.method.multi_label


def test_settings_are_those_given():
    model = make(config=DPQConfig(tau=0.5), image_size=28)
    assert (model.training.image_size, model.training.epochs, model.training.batch_size) == (28, 2, 16)
    assert model.config.tau == 0.5
    assert model.side == 32


def test_saved_and_loaded_encodes_the_same(model, codes, images, saved):
    loaded = DPQ.from_pretrained(saved, device="cpu")
    assert torch.equal(loaded.encode(images), codes)
    assert same_tensors(loaded, model)
    assert (loaded.classes, loaded.bits, loaded.training, loaded.config) == (NAMES, 8, model.training, model.config)
    assert loaded.method.preprocessing == model.method.preprocessing
    loaded.save(saved.parent / "again")
    for name in ("model.safetensors", "config.json"):
        assert (saved.parent / "again" / name).read_bytes() == (saved / name).read_bytes()


def test_loading_neither_unpickles_nor_downloads(saved, monkeypatch):
    import timm

    create, asked = timm.create_model, []

    def offline(name, pretrained=False, **options):
        asked.append(pretrained)
        return create(name, pretrained=False, **options)

    def refuse(*args, **kwargs):
        raise AssertionError("unpickled")

    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    DPQ.from_pretrained(saved)
    assert asked == [False]


def test_a_loaded_model_is_trained_on_from_its_network(model, images, saved):
    loaded = DPQ.from_pretrained(saved, device="cpu")
    body = {name: value.clone() for name, value in loaded.method.backbone.body.state_dict().items()}
    still = DPQConfig(train_backbone=False)
    loaded.config = still
    loaded.fit(images[:32], ["day", "night"] * 16)
    assert loaded.classes == ("day", "night")
    after = loaded.method.backbone.body.state_dict()
    assert all(torch.equal(after[name], body[name]) for name in body)


def edit(**changes):
    def change(folder):
        table = json.loads((folder / "config.json").read_text())
        for key, value in changes.items():
            table[key] = value(table[key]) if callable(value) else value
        (folder / "config.json").write_text(json.dumps(table))

    return change


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "file", "why"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json", "No such file"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json", "Expecting"),
        (lambda folder: (folder / "config.json").write_text("[" * 100_000), "config.json", "nested too deeply"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json", "it must be a table; got []"),
        (edit(schema_version=2), "config.json", "schema_version must be 1; got 2"),
        (edit(more=1), "config.json", "unknown key 'more'"),
        (edit(classes="cat"), "config.json", "classes must be a list; got 'cat'"),
        (edit(bits=10**400), "model.safetensors", ""),
        (edit(bits=16), "model.safetensors", "no quantizer.codebooks of"),
        (edit(classes=["a", "b"]), "model.safetensors", "no label_vectors of"),
        (edit(backbone=lambda b: b | {"embedding_dim": 10**9}), "model.safetensors", "no quantizer.codebooks of"),
        (edit(backbone=lambda b: b | {"name": "resnet10t"}), "saved", "resnet10t"),
        (edit(backbone=lambda b: b | {"name": "hf-hub:someone/something"}), "saved", "unknown backbone"),
        (edit(training=lambda t: t | {"image_size": 0}), "saved", "image_size must be at least 1"),
        (cut, "model.safetensors", "check sum"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors", "No such file"),
    ],
)
def test_damaged_and_foreign_folders_are_refused_in_one_line(saved, damage, file, why):
    damage(saved)
    with pytest.raises(InputError) as refusal:
        DPQ.from_pretrained(saved)
    message = str(refusal.value)
    assert str(saved if file == "saved" else saved / file) in message
    assert why in message
    assert "\n" not in message


def test_saving_replaces_a_saved_model_and_nothing_else(model, saved):
    first = (saved / "model.safetensors").read_bytes()
    model.save(saved)
    assert (saved / "model.safetensors").read_bytes() == first
    assert sorted(path.name for path in saved.parent.iterdir()) == ["saved"]
    (saved / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match=r"other files \(thesis.tex\)"):
        model.save(saved)
    (saved.parent / "file").write_text("precious")
    with pytest.raises(InputError, match="is a file, which saving would overwrite"):
        model.save(saved.parent / "file")


def test_a_failed_save_leaves_the_old_model_and_no_litter(model, saved, monkeypatch):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    write = dpq.method.saved.write_atomically

    def full(path, content, remedy):
        if path.name == "config.json":
            raise InputError("no space")
        write(path, content, remedy)

    monkeypatch.setattr("dpq.method.saved.write_atomically", full)
    with pytest.raises(InputError, match="no space"):
        model.save(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert sorted(path.name for path in saved.parent.iterdir()) == ["saved"]


GONE = [f"gone/{c}/{i}.jpg" for i in range(24) for c in "ab"]  # reading one would be refused as missing


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"backbone": "nosuchnet"}, "unknown backbone 'nosuchnet'"),
        ({"backbone": "resnet18.nonsense"}, "unknown weights 'nonsense'"),
        ({"backbone": "efficientformer_l1"}, "takes no images of 32 pixels"),
        ({"backbone": "botnet50ts_256", "weights": "timm", "image_size": 256}, "timm has no weights of"),
        ({"weights": "nofile.pth"}, "nofile.pth does not exist"),
        ({"embedding_dim": 1}, "raise the embedding dimension"),
        ({"codebook_size": 64, "bits": 6}, "at least as many training images; got 48"),
        ({"batch_size": 1}, "batches of two images or more"),
        ({"config": DPQConfig(lost_epoch=True), "epochs": 1}, "of 1 leaves none; raise epochs"),
    ],
)
def test_what_needs_no_image_is_checked_before_the_first_is_read(changes, why):
    model = DPQ(**(SMALL | {"backbone": "test_resnet", "device": "cpu"} | changes))
    with pytest.raises(InputError, match=why):
        model.fit(GONE, ["a", "b"] * 24)


def test_labels_are_counted_before_the_first_image_is_read():
    for labels in (["a", "b"] * 20, ["a"] * 48):
        with pytest.raises(InputError, match=r"but 40 labels|at least two classes"):
            make().fit(GONE, labels)


@pytest.mark.parametrize("name", ["batch_size", "image_size", "epochs", "embedding_dim", "bits"])
def test_sizes_have_the_bounds_of_files(name):
    with pytest.raises(InputError, match=f"{name} must be a whole number from 1 to"):
        make(**{name: 4 * 10**12})


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda images: make().encode(images), "not trained; call fit"),
        (lambda images: make().save("nowhere"), "not trained; call fit"),
        (lambda images: make(bits=10), "multiples of 4 bits"),
        (lambda images: make(image_size=0), "image_size must be a whole number from 1 to 100000; got 0"),
        (lambda images: make(device="abacus"), "device abacus cannot be used"),
        (lambda images: make().fit(images), "training needs labels"),
        (lambda images: make().fit(images, [0, 1]), "48 images but 2 labels"),
        (lambda images: make().fit(images[:9], CLASS[:9]), "at least as many training images; got 9"),
        (lambda images: make().fit(Stream(images)), "item 0 of the dataset is no pair"),
        (lambda images: make(embedding_dim=2).fit(images, CLASS), "raise the embedding dimension"),
        (lambda images: make(weights="gone.safetensors").fit(images, CLASS), "gone.safetensors does not exist"),
    ],
)
def test_mistakes_are_told_in_one_line(images, call, why):
    with pytest.raises(InputError, match=why) as refusal:
        call(images)
    assert "\n" not in str(refusal.value)


def test_encoding_refuses_lengths_and_batches(model, images):
    with pytest.raises(InputError, match="16 bits exceed the 8 bits"):
        model.encode(images, bits=16)
    with pytest.raises(InputError, match="batch_size must be from 1 to 128; got 0"):
        model.encode(images, batch_size=0)


def test_images_in_no_class_folder_are_refused(images, tmp_path):
    Image.fromarray(images[0]).save(tmp_path / "loose.png")
    with pytest.raises(InputError, match=r"loose.png is in no class folder"):
        make().fit(tmp_path)


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_training_has_gradients_where_the_caller_has_none(model, images, labels, codes, without):
    with without():
        trained = make().fit(torch.from_numpy(images).permute(0, 3, 1, 2), labels)
        assert torch.equal(trained.encode(images), codes)


def test_batches_of_one_image_need_a_backbone_without_batch_norm(images, labels):
    with pytest.raises(InputError, match="batch norm learns from batches of two images or more; got batch_size 1"):
        make(batch_size=1).fit(images, labels)
    frozen = DPQConfig(train_backbone=False)  # whose batch norm stands still
    assert len(make(batch_size=1, epochs=1, config=frozen).fit(images, labels).codebooks) == 2


def test_a_saved_model_that_is_not_finite_is_refused(model, images, labels, tmp_path):
    broken = make().fit(images, labels)
    with torch.no_grad():
        broken.method.backbone.embedding.weight[0, 0] = float("nan")
    broken.save(tmp_path / "broken")
    with pytest.raises(InputError, match=r"saved model: backbone\.embedding.weight holds NaN or infinity"):
        DPQ.from_pretrained(tmp_path / "broken")


def test_codes_that_no_level_has_are_refused(model):
    for codes in (np.array([[-1, 0]]), np.array([[0.0, 1.0]]), np.array([[0, 16]])):
        with pytest.raises(InputError, match=r"codes (of|are)"):
            model.decode(codes)


def test_a_collapse_is_said_as_the_benchmark_says_it(images, labels, caplog):
    make().fit(images, labels)
    assert "collapsed" not in caplog.text
    make().fit(np.full_like(images, 20), labels)
    assert "warning: embeddings collapsed: their variance is" in caplog.text
    assert "warning: level 1 uses 1 of 16 codewords" in caplog.text
