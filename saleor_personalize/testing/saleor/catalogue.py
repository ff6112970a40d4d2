"""What the made-up shop sells: tea, and what one needs for it. Invented here, the same every time."""

from __future__ import annotations

import random
from dataclasses import dataclass

MATERIALS = ("stoneware", "glass", "cast iron", "porcelain", "terracotta", "pewter")
KINDS = {
    "Teapots": ("Teapot", "Pours without a drip and keeps its heat for an hour.", 38),
    "Cups": ("Cup", "Sits in the hand, holds two decilitres.", 12),
    "Kettles": ("Kettle", "Comes to the boil quietly; the spout is made for slow pouring.", 54),
    "Trays": ("Tray", "Carries four cups and a pot.", 24),
    "Strainers": ("Strainer", "Fine enough for broken leaves.", 9),
    "Canisters": ("Canister", "Keeps light and air away from the leaf.", 16),
}
TEAS = (
    ("Morning Harbour", "black", "Malty and strong, takes milk."),
    ("Green Terrace", "green", "Grassy, with a sweet end."),
    ("Smoke over Pines", "black", "Smoked over pine wood, for cold evenings."),
    ("White Orchard", "white", "Pale, soft, a hint of pear."),
    ("Seven Stones", "oolong", "Seven infusions, each one different."),
    ("Night Garden", "herbal", "Chamomile and verbena, no caffeine."),
    ("Red Coast", "rooibos", "Round and warm, good with honey."),
    ("First Flush", "black", "Light, flowery, picked in spring."),
    ("Toasted Rice", "green", "Green leaf and toasted rice."),
    ("Ginger Road", "herbal", "Ginger, lemon grass and pepper."),
)
#: What it is made of, or which kind of tea -> whose brand it is.
BRANDS = {
    "stoneware": "Loam & Fire",
    "glass": "Clear Hours",
    "cast iron": "Ironfold",
    "porcelain": "Palewharf",
    "terracotta": "Loam & Fire",
    "pewter": "Ironfold",
    "black": "Harbour Leaf",
    "green": "Terrace Gardens",
    "white": "Terrace Gardens",
    "oolong": "Terrace Gardens",
    "herbal": "Harbour Leaf",
    "rooibos": "Harbour Leaf",
}
#: What things are called in German.
GERMAN = {
    "stoneware": "Steinzeug",
    "glass": "Glas",
    "cast iron": "Gusseisen",
    "porcelain": "Porzellan",
    "terracotta": "Terrakotta",
    "pewter": "Zinn",
    "Teapot": "Teekanne",
    "Cup": "Tasse",
    "Kettle": "Wasserkessel",
    "Tray": "Tablett",
    "Strainer": "Teesieb",
    "Canister": "Teedose",
    "Teapots": "Teekannen",
    "Cups": "Tassen",
    "Kettles": "Wasserkessel",
    "Trays": "Tabletts",
    "Strainers": "Teesiebe",
    "Canisters": "Teedosen",
    "Teas": "Tees",
    "Morning Harbour": "Morgenhafen",
    "Green Terrace": "Grüne Terrasse",
    "Smoke over Pines": "Rauch über Kiefern",
    "White Orchard": "Weißer Obstgarten",
    "Seven Stones": "Sieben Steine",
    "Night Garden": "Nachtgarten",
    "Red Coast": "Rote Küste",
    "First Flush": "Erste Ernte",
    "Toasted Rice": "Gerösteter Reis",
    "Ginger Road": "Ingwerstraße",
}


@dataclass(frozen=True)
class GuideIdea:
    """A content page: what it is about by its tags, and by the start of a product's name."""

    title: str
    german: str
    tags: tuple[str, ...]
    product: str = ""


GUIDES = (
    GuideIdea(
        "How to brew green tea", "So gelingt grüner Tee", ("green", "Strainers"), "Green Terrace"
    ),
    GuideIdea("Cast iron keeps its heat", "Gusseisen hält warm", ("cast iron", "Teapots")),
    GuideIdea("Caring for stoneware", "Steinzeug pflegen", ("stoneware",)),
    GuideIdea(
        "Herbal teas for the evening", "Kräutertees für den Abend", ("herbal",), "Night Garden"
    ),
    GuideIdea("About us", "Über uns", ()),
)


@dataclass(frozen=True)
class ProductIdea:
    name: str
    category: str
    material: str
    text: str
    price: float
    german: str

    @property
    def brand(self) -> str:
        return BRANDS[self.material]


def ideas(count: int) -> list[ProductIdea]:
    """Return `count` products; beyond the hand-made ones they are numbered editions."""
    made = [
        ProductIdea(
            f"{material.capitalize()} {noun.lower()}",
            category,
            material,
            text,
            float(price + i * 3),
            f"{GERMAN[noun]} aus {GERMAN[material]}",
        )
        for category, (noun, text, price) in KINDS.items()
        for i, material in enumerate(MATERIALS)
    ]
    made += [
        ProductIdea(
            f"{name} tea, {size}", "Teas", kind, text, price, f"Tee „{GERMAN[name]}“, {size}"
        )
        for name, kind, text in TEAS
        for size, price in (("50 g", 6.5), ("100 g", 11.0), ("250 g", 24.0))
    ]
    while len(made) < count:
        base = made[len(made) % 66]
        made.append(
            ProductIdea(
                f"{base.name}, edition {len(made) // 66 + 1}",
                base.category,
                base.material,
                base.text,
                base.price + len(made) % 7,
                f"{base.german}, Auflage {len(made) // 66 + 1}",
            )
        )
    return made[:count]


def baskets(count: int, products: list[ProductIdea], seed: int = 7) -> list[list[int]]:
    """Return baskets as indices: people buy the pot with the cup of the same material, and tea."""
    draw = random.Random(seed)
    by_material: dict[str, list[int]] = {}
    teas = [i for i, idea in enumerate(products) if idea.category == "Teas"]
    for i, idea in enumerate(products):
        if idea.category != "Teas":
            by_material.setdefault(idea.material, []).append(i)
    materials = sorted(by_material)
    weights = [1 / (i + 1) for i in range(len(materials))]
    found = []
    for _ in range(count):
        pool = by_material[draw.choices(materials, weights)[0]]
        basket = set(draw.sample(pool, min(len(pool), draw.randint(1, 3))))
        if teas and draw.random() < 0.6:
            basket.add(draw.choice(teas[:12]))
        found.append(sorted(basket))
    return found
