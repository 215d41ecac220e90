"""The bundled model gives the bits that it gave when it was made: hashes for each instruction set and type.

A change of the kernel that keeps its arithmetic, and every move of code, leaves them as they are. The kernel
has its own exp, fixes the order of its sums and is compiled without contraction, so neither the compiler nor
the C library takes part. A processor without an instruction set skips its rows. torch's backend is left out:
its sums are those of the BLAS that torch was built with.
"""

import json
import platform
from hashlib import sha256

import numpy as np
import pytest

import spacy_elmo
from spacy_elmo.inference.backends import available_backends
from spacy_elmo.inference.encode import encode
from spacy_elmo.text import split_characters

TEXTS = """\
北京
的
，
A
😀
我爱北京天安门。
他去银行取钱，然后坐在河边的长椅上。
自行车在这一行里卖得很好，行不行？
１９９８年，中国发展的全过程。
中共中央总书记、国家主席江泽民发表题为《迈向充满希望的新世纪》的新年讲话。
12月31日，发表1998年新年讲话。（新华社记者兰红光摄）
“你好！”她说，“我们走吧……”
用 Linux kernel 5.10 编译 spaCy 3.8。
The quick brown fox jumps over the lazy dog.
Wi-Fi、USB-C和HDMI接口各一个，价格￥199.99。
研究生命的起源是一件难事。
南京市长江大桥
乒乓球拍卖完了
他说的确实在理
结婚的和尚未结婚的人都来了。
臺灣的繁體字也要能讀。
日本語のテキストも少し。
한국어 문장
Ünïcödé café naïve Ελλάδα Россия
ＡＢＣ股份有限公司ｗｗｗ．ｅｘａｍｐｌｅ．ｃｏｍ
www.example.com/path?query=1&x=2#top
zhangsan@example.com
哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈
！！！？？？。。。
一二三四五六七八九十百千万亿
3.1415926535
龘靐齉爩
甲：乙；丙、丁
“‘嵌套’引号”《书名》（括号）【方头】
经济增长百分之七点八，物价涨幅低于百分之一，实现了高增长、低通胀。
党的十五大报告提出，建设有中国特色社会主义的经济、政治、文化。
医生给病人打针；孩子们打球；他打电话叫人打水。
她把头发剪短了，发现自己发胖了。
重庆的重点中学重新装修，工程很重要，也很重。
春天来了，花园里开满了五颜六色的花，蜜蜂在花丛中飞来飞去，孩子们在草地上奔跑，老人们在树荫下下棋，\
远处传来一阵阵悠扬的笛声，河水缓缓地流过石桥，几只白鹅在水面上游来游去，岸边的柳树随风摇摆，\
一切都显得那么安静而又充满生机，让人不由得想起小时候在乡下度过的那些无忧无虑的日子。
""".splitlines()

# Hashes of f32, bf16 and int16. `plain` rounds a product before it is added, the others do not; the
# instructions for bf16 differ in how they round the sum of two products.
GOLDEN = {
    "native plain": ("c4136637f5370f2e", "22e43e0e89a709d2", "7c1f2e8f45f18ab7"),
    "native avx2": ("86dcef10f131bbeb", "f509224c19d8f46f", "a40757d13e22861a"),
    "native avx512": ("86dcef10f131bbeb", "f509224c19d8f46f", "a40757d13e22861a"),
    "native avx512vnni": ("86dcef10f131bbeb", "f509224c19d8f46f", "a40757d13e22861a"),
    "native avx512bf16": ("86dcef10f131bbeb", "b02e4ccb224b7338", "a40757d13e22861a"),
    "native amx": ("86dcef10f131bbeb", None, "a40757d13e22861a"),  # bf16: to be recorded on such a processor
}
PRECISIONS = ("f32", "bf16", "int16")
# The first number of the static vector of a text.
STATIC = {0: -2.276785, 5: -4.931457, 8: -3.201948, 15: -6.804716, 24: -2.939497, 31: 0.0, 39: -9.225959}
KNOWN = platform.machine() in ("x86_64", "AMD64")  # elsewhere `plain` is other arithmetic
BACKENDS = [backend for backend in GOLDEN if backend in available_backends() and KNOWN]


def digest(arrays: list[np.ndarray]) -> str:
    """The first 16 digits of the hash of float32 arrays, and of their shapes."""
    total = sha256()
    for array in arrays:
        total.update(repr(array.shape).encode("ascii"))
        total.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return total.hexdigest()[:16]


@pytest.fixture(scope="module")
def bundled(tmp_path_factory):
    """Load the bundled model without `simplify`, which is newer than the hashes."""
    path = tmp_path_factory.mktemp("golden") / "model"
    spacy_elmo.load().save(path)
    config = json.loads((path / "config.json").read_text(encoding="utf8"))
    config["bilm"]["simplify"] = False
    (path / "config.json").write_text(json.dumps(config), encoding="utf8")
    return spacy_elmo.load(path)


@pytest.mark.skipif(not BACKENDS, reason="no instruction set of this machine has known hashes")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_golden_layers(bundled, backend, precision):
    expected = GOLDEN[backend][PRECISIONS.index(precision)]
    if expected is None:
        pytest.skip(f"no hash of {precision} is recorded for {backend}")
    sentences = [split_characters(text)[0] for text in TEXTS]
    found = digest(encode(bundled, sentences, precision=precision, backend=backend))
    assert found == expected


def test_golden_static_vectors(bundled):
    found = np.stack([bundled.static_vectors_of([text])[0] for text in TEXTS])
    np.testing.assert_allclose(found[list(STATIC), 0], list(STATIC.values()), atol=1e-5)
    assert set(np.sqrt((found**2).mean(1)).round(3).tolist()) == {0.0, 1.0}
