"""What the simulated videos are about: categories, their topics, and the things a title can name."""

from typing import Final

# category -> topic -> things; a topic is what people have a taste for.
SUBJECTS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "cooking": {
        "pasta": ("carbonara", "fresh tagliatelle", "lasagne", "cacio e pepe"),
        "baking": ("sourdough", "croissants", "cinnamon rolls", "banana bread"),
        "street food": ("tacos al pastor", "bao buns", "falafel", "takoyaki"),
        "grilling": ("smoked brisket", "grilled octopus", "cedar plank salmon", "burnt ends"),
        "vegan": ("tofu scramble", "lentil curry", "cashew cheese", "jackfruit tacos"),
    },
    "music": {
        "guitar": ("fingerpicking", "barre chords", "slide guitar", "a blues solo"),
        "piano": ("a Chopin nocturne", "jazz voicings", "left-hand patterns", "sight reading"),
        "beatmaking": ("a lo-fi beat", "drum programming", "sample chopping", "sidechain"),
        "singing": ("vocal warm-ups", "harmonies", "belting", "vibrato"),
        "vinyl": ("a crate find", "needle care", "first pressings", "a listening corner"),
    },
    "fitness": {
        "running": ("a first 10k", "tempo runs", "trail shoes", "marathon week"),
        "yoga": ("sun salutations", "hip openers", "crow pose", "a morning flow"),
        "strength": ("the deadlift", "pull-ups", "kettlebell swings", "squat depth"),
        "climbing": ("a V5 boulder", "finger strength", "dyno practice", "rope basics"),
        "cycling": ("a hill climb", "bike fit", "gravel tyres", "a century ride"),
    },
    "travel": {
        "city walks": ("Lisbon at dawn", "Kyoto alleys", "Old Havana", "Istanbul ferries"),
        "hiking": ("the Dolomites", "a Patagonia trek", "hut to hut", "the Lofoten ridge"),
        "camper life": ("a van build", "winter camping", "off-grid power", "a coastal road"),
        "trains": ("a night train", "the Glacier Express", "interrail on a budget", "the Flam line"),
        "islands": ("a Cyclades hop", "Azores crater lakes", "Zanzibar reefs", "the Faroes"),
    },
    "technology": {
        "phones": ("a foldable phone", "battery tests", "night photos", "a teardown"),
        "programming": ("a Python trick", "a tiny compiler", "git rebase", "a race condition"),
        "home servers": ("a mini rack", "backups", "a quiet NAS", "solar power for a server"),
        "robots": ("a walking robot", "a line follower", "servo tuning", "a robot arm"),
        "keyboards": ("lubed switches", "a split keyboard", "brass plates", "keycap sets"),
    },
    "animals": {
        "dogs": ("a rescue dog", "recall training", "puppy week one", "a herding collie"),
        "cats": ("a shy kitten", "clicker training", "a cat shelf", "two cats meeting"),
        "birds": ("a garden feeder", "an owl nest", "parrot tricks", "swift season"),
        "aquariums": ("a planted tank", "shrimp colony", "aquascaping", "a reef start"),
        "wildlife": ("foxes at night", "a badger sett", "whale watching", "otter pups"),
    },
    "comedy": {
        "sketches": ("the office printer", "meeting bingo", "the in-laws", "airport security"),
        "stand-up": ("an open mic", "crowd work", "a five-minute set", "heckler replies"),
        "impressions": ("every teacher", "GPS voices", "news anchors", "my grandmother"),
        "pranks": ("a fake menu", "the frozen pose", "a wrong elevator", "googly eyes"),
        "parody": ("a perfume advert", "a cooking show", "a workout influencer", "a movie trailer"),
    },
    "beauty": {
        "skincare": ("a winter routine", "sunscreen tests", "acne myths", "retinol basics"),
        "make-up": ("a soft glam look", "winged liner", "editorial eyes", "a ten-euro kit"),
        "hair": ("curly wash day", "a bob cut", "heatless waves", "braids"),
        "nails": ("gel at home", "nail art", "a chrome set", "cuticle care"),
        "perfume": ("a spring scent", "layering", "vintage bottles", "blind tests"),
    },
    "games": {
        "speedruns": ("a world record", "a wall clip", "any percent", "a two-frame jump"),
        "chess": ("the Caro-Kann", "an endgame trick", "blitz blunders", "a queen sacrifice"),
        "cozy games": ("a farm layout", "a fishing guide", "cabin building", "a museum run"),
        "strategy": ("an opening build", "a siege", "diplomacy wins", "a peaceful victory"),
        "retro": ("a CRT setup", "cartridge repair", "a hidden level", "8-bit music"),
    },
    "science": {
        "space": ("a Mars rover", "a meteor shower", "neutron stars", "a rocket landing"),
        "chemistry": ("a slow reaction", "crystals", "flame colours", "liquid nitrogen"),
        "oceans": ("deep-sea vents", "tides", "glowing plankton", "a coral nursery"),
        "maths": ("a proof in pictures", "prime spirals", "the birthday puzzle", "knots"),
        "brain": ("optical illusions", "memory palaces", "sleep cycles", "phantom limbs"),
    },
    "making": {
        "woodwork": ("a dovetail joint", "a walnut table", "hand planes", "a stool in a day"),
        "knitting": ("a first sweater", "colourwork", "sock heels", "lace charts"),
        "pottery": ("a centred bowl", "raku firing", "glaze tests", "a handle pull"),
        "painting": ("loose watercolour", "oil portraits", "a plein air hour", "gouache skies"),
        "electronics": ("a synth kit", "soldering", "an LED clock", "a weather station"),
    },
    "football": {
        "skills": ("the elastico", "weak-foot drills", "a free kick", "first touch"),
        "tactics": ("the false nine", "gegenpressing", "a back three", "set pieces"),
        "goals": ("a volley", "a solo run", "a last-minute winner", "an overhead kick"),
        "grassroots": ("Sunday league", "under-tens", "a muddy derby", "a new pitch"),
        "history": ("the 1970 final", "old kits", "a forgotten club", "the first cup"),
    },
}

TITLES: Final = (
    "{Thing}, step by step",
    "The secret to {thing}",
    "What nobody tells you about {thing}",
    "I tried {thing} for {n} days",
    "{Thing} in {n} minutes",
    "A beginner's guide to {thing}",
    "{n} mistakes with {thing}",
    "{Thing}: worth it?",
)
DESCRIPTIONS: Final = (
    "More {topic} every week. Today: {thing}.",
    "{Thing}, from someone who does little else. {Topic} for everybody.",
    "Part {n} of the {topic} series: {thing}.",
    "You asked for {thing}. Questions about {topic} in the comments.",
)
# (city, country code, language, hours from UTC, share of people)
PLACES: Final = (
    ("Lisbon", "PT", "pt", 0, 0.08),
    ("London", "GB", "en", 0, 0.20),
    ("Berlin", "DE", "de", 1, 0.18),
    ("Paris", "FR", "fr", 1, 0.14),
    ("Madrid", "ES", "es", 1, 0.12),
    ("Sao Paulo", "BR", "pt", -3, 0.12),
    ("New York", "US", "en", -5, 0.16),
)
