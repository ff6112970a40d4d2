"""Pictures of what the made-up shop sells: drawn here by kind and colour, under a kilobyte each."""

from __future__ import annotations

from saleor_personalize.testing.saleor.catalogue import TEAS, ProductIdea

#: What it is made of, or which kind of tea: its colour, a darker one, and the ground.
_COLOURS = {
    "stoneware": ("#7d8f86", "#55645d", "#e6ece7"),
    "glass": ("#9cc9d6", "#5c97a8", "#eaf4f6"),
    "cast iron": ("#4a4e57", "#2b2e35", "#e4e5e8"),
    "porcelain": ("#f7f7fb", "#5573b0", "#d5dff0"),
    "terracotta": ("#c9714a", "#95472a", "#f8e6dc"),
    "pewter": ("#a3a7ad", "#70757d", "#ececee"),
    "black": ("#8a3b32", "#5c231d", "#f5e2dd"),
    "green": ("#6f9a4b", "#47692c", "#e8f1de"),
    "white": ("#d9cfae", "#a3946a", "#f6f2e4"),
    "oolong": ("#b98a3c", "#7f5b1f", "#f6ecd8"),
    "herbal": ("#9677b8", "#674a86", "#eee7f5"),
    "rooibos": ("#b8492c", "#7c2c17", "#f8e1da"),
}
#: Each kind on a ground of 120 x 120; {a} is its colour, {b} the darker one.
_SHAPES = {
    "Teapots": (
        '<path d="M34 58 18 46l-4 5 16 26z" fill="{b}"/>'
        '<path d="M82 54h8a13 13 0 0 1 0 26h-7" fill="none" stroke="{b}" stroke-width="6"/>'
        '<path d="M30 62a29 24 0 0 1 56 0c0 22-12 34-28 34S30 84 30 62z" fill="{a}" stroke="{b}" '
        'stroke-width="2"/><path d="M40 47a18 8 0 0 1 36 0z" fill="{b}"/><circle cx="58" cy="35" '
        'r="5" fill="{b}"/>'
    ),
    "Cups": (
        '<path d="M78 54h6a12 12 0 0 1 0 24h-10" fill="none" stroke="{b}" stroke-width="6"/>'
        '<path d="M32 46h48v22a22 22 0 0 1-22 22h-4a22 22 0 0 1-22-22z" fill="{a}" stroke="{b}" '
        'stroke-width="2"/><ellipse cx="56" cy="46" rx="24" ry="6" fill="{b}"/><path d="M26 98h60" '
        'stroke="{b}" stroke-width="5" stroke-linecap="round"/>'
    ),
    "Kettles": (
        '<path d="M38 50a21 24 0 0 1 42 0" fill="none" stroke="{b}" stroke-width="6"/>'
        '<path d="M34 70C20 70 24 48 12 44l-3 6c7 6 4 32 25 34z" fill="{b}"/>'
        '<path d="M40 52h38l12 42H28z" fill="{a}" stroke="{b}" stroke-width="2" '
        'stroke-linejoin="round"/><path d="M44 46h30v6H44z" fill="{b}"/>'
    ),
    "Trays": (
        '<ellipse cx="60" cy="68" rx="48" ry="20" fill="{b}"/><ellipse cx="60" cy="63" rx="48" '
        'ry="20" fill="{a}" stroke="{b}" stroke-width="2"/><ellipse cx="60" cy="63" rx="36" ry="13" '
        'fill="none" stroke="{b}" stroke-width="2"/>'
    ),
    "Strainers": (
        '<path d="M74 52 108 34" stroke="{b}" stroke-width="7" stroke-linecap="round"/>'
        '<path d="M22 54h58a29 34 0 0 1-58 0z" fill="{a}" stroke="{b}" stroke-width="2"/>'
        '<path d="M32 64h38M36 72h30M42 80h18" stroke="{b}" stroke-width="3" stroke-dasharray="3 5"/>'
        '<ellipse cx="51" cy="54" rx="30" ry="5" fill="{b}"/>'
    ),
    "Canisters": (
        '<rect x="34" y="42" width="52" height="58" rx="6" fill="{a}" stroke="{b}" stroke-width="2"/>'
        '<rect x="31" y="28" width="58" height="16" rx="5" fill="{b}"/><path d="M60 58c12 8 12 20 0 28'
        '-12-8-12-20 0-28z" fill="{b}"/>'
    ),
    "Teas": (
        '<g transform="translate(60 104) scale({size})"><path d="M-26-76h52l6 12v64h-64v-64z" '
        'fill="{a}"/><path d="M-26-76h52l6 12h-64z" fill="{b}"/><rect x="-22" y="-52" width="44" '
        'height="38" rx="4" fill="#fff" fill-opacity=".85"/><path d="M-12-22c0-16 8-24 24-24 0 16-8 24'
        '-24 24zm0 0 14-14" fill="{b}" stroke="#fff" stroke-width="1.5" '
        'transform="rotate({turn} 0 -33)"/></g>'
    ),
}
_SIZES = {", 50 g": 0.8, ", 100 g": 0.98, ", 250 g": 1.18}


def picture(idea: ProductIdea) -> str:
    """Return the picture of a product as SVG."""
    colour, dark, ground = _COLOURS[idea.material]
    size = next((scale for words, scale in _SIZES.items() if words in idea.name), 1.0)
    # Teas of one kind are told apart by how their leaf lies.
    turn = next((i * 35 for i, tea in enumerate(TEAS) if idea.name.startswith(tea[0])), 0)
    shape = _SHAPES[idea.category].format(a=colour, b=dark, size=size, turn=turn)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 120 120">'
        f'<rect width="120" height="120" fill="{ground}"/>{shape}</svg>'
    )
