"""Make attrood/assets/vocabulary.json, and attrood/assets/words_vitb32.npz, from lists of words with text embeddings.

Usage: python tools/make_vocabulary.py CLIP_VITB32_WORDS.npz

The input holds `word`, `list` (lvis, openimages, objects365, imagenet) and `text_embeddings` of OpenAI CLIP ViT-B/32. The names of LVIS, OpenImages and
Objects365 come with Detic (Apache-2.0), those of ImageNet with clip_lt (MIT): see NOTICE.md. Media, conditions, scenes, synonyms and the table of broader
words are written by hand below. Spellings of one word become one entry: case, plural, spaces, an American and a British name.
"""

import sys
from pathlib import Path

import numpy as np

from attrood.evidence.vocabulary import Vocabulary, same_word, sense_of, write_bank, write_vocabulary

ROOT = Path(__file__).parents[1]
ORDER = ("lvis", "openimages", "objects365", "imagenet")  # whose embedding and whose sense a word gets: the first
DROP = """Other Shoes; Other Fish; Other Balls; Wild Bird; Ballon; Noddles; Billards; Canned; French; Converter; Extractor; Table Tennis; Tennis; Soccer; Curling; Target;
Tong; Kitchen & dining room table; Luggage and bags; Moths and butterflies; Salt and pepper shakers; Power plugs and sockets; Skating and Skiing shoes; Trash bin Can; Head Phone;
Personal care; Cleaning Products; Human nose; Human mouth; Human eye; Human ear; gag; grits; chap; cast; control; slide; cover; flap; wing; slot; switch; die; Cardigan"""
SENSES = {  # ImageNet's names that mean something else in everyday words
    "crane": "bird",
    "kite": "bird",
    "drake": "duck",
    "jay": "bird",
    "robin": "bird",
    "boxer": "dog",
    "papillon": "dog",
    "basset": "dog",
    "Saluki": "dog",
    "cairn": "dog",
    "Airedale": "dog",
    "chow": "dog",
    "Pembroke": "dog",
    "collie": "dog",
    "Brittany spaniel": "dog",
    "sorrel": "horse",
    "admiral": "butterfly",
    "ringlet": "butterfly",
    "monarch": "butterfly",
    "titi": "monkey",
    "capuchin": "monkey",
    "Angora": "rabbit",
    "cricket": "insect",
    "walking stick": "insect",
    "puffer": "fish",
    "gar": "fish",
    "ear": "of corn",
    "hip": "fruit",
    "bolete": "mushroom",
    "buckeye": "nut",
    "racer": "car",
    "pirate": "ship",
    "liner": "ship",
    "amphibian": "vehicle",
    "upright": "piano",
    "rule": "ruler",
    "screen": "monitor",
    "throne": "chair",
    "bearskin": "hat",
    "brass": "plaque",
    "stole": "scarf",
    "pick": "plectrum",
    "groom": "man",
    "chiton": "mollusc",
    "sidewinder": "snake",
    "diamondback": "snake",
    "tusker": "elephant",
}
MEDIUM = {  # name: prompt
    "drawing": "a drawing.",
    "pencil drawing": "a pencil drawing.",
    "sketch": "a rough sketch.",
    "line art": "line art, black lines on white.",
    "doodle": "a doodle.",
    "painting": "a painting.",
    "oil painting": "an oil painting.",
    "watercolour": "a watercolor painting.",
    "cartoon": "a cartoon.",
    "comic": "a page of a comic book.",
    "anime": "an anime picture.",
    "illustration": "a flat vector illustration.",
    "clip art": "clip art.",
    "icon": "an icon.",
    "logo": "a logo.",
    "3-D rendering": "a 3D computer rendering.",
    "video game": "a screenshot of a video game.",
    "screenshot": "a screenshot of a computer screen.",
    "web page": "a screenshot of a web page.",
    "chart": "a chart with axes.",
    "diagram": "a diagram.",
    "technical drawing": "a technical line drawing, a patent figure.",
    "floor plan": "a floor plan.",
    "map": "a map.",
    "satellite image": "a satellite image.",
    "aerial photo": "an aerial photo from above.",
    "x-ray": "an x-ray image.",
    "CT scan": "a CT scan.",
    "MRI scan": "an MRI scan.",
    "ultrasound image": "an ultrasound image.",
    "microscope image": "a microscope image.",
    "thermal image": "a thermal infrared image.",
    "night-vision image": "a night vision image.",
    "page of text": "a page of printed text.",
    "handwriting": "handwriting on paper.",
    "scan of a document": "a scan of a document.",
    "receipt": "a photo of a receipt.",
    "form": "a filled form.",
    "poster": "a poster.",
    "book cover": "a book cover.",
    "advertisement": "an advertisement.",
    "packaging": "a product package.",
    "sign": "a sign with text.",
    "meme": "a meme with a caption.",
    "collage": "a collage of several photos.",
    "stained glass": "stained glass.",
    "mosaic": "a mosaic.",
    "graffiti": "graffiti on a wall.",
    "tattoo": "a tattoo.",
    "embroidery": "embroidery.",
    "sculpture": "a sculpture.",
    "statue": "a statue.",
    "figurine": "a figurine.",
    "plush toy": "a plush toy.",
    "toy model": "a toy model.",
    "origami": "origami.",
    "engraving": "an engraving.",
    "woodcut": "a woodcut print.",
    "silhouette": "a black silhouette.",
    "edge image": "white edges on a black background.",
    "texture": "a close-up of a texture.",
    "pattern": "a repeating pattern.",
    "photo of a screen": "a photo of a screen.",
    "product photo": "a product photo on a white background.",
    "selfie": "a selfie.",
    "film still": "a still of a film.",
    "surveillance image": "a surveillance camera image.",
    "fisheye image": "a fisheye photo.",
    "panorama": "a panorama.",
    "barcode": "a barcode.",
    "sheet music": "sheet music.",
    "crossword puzzle": "a crossword puzzle.",
    "hologram": "a hologram.",
}
CONDITION = {
    "blurred": "a blurry photo.",
    "out of focus": "an out of focus photo.",
    "motion blur": "a photo with motion blur.",
    "dark": "a dark photo.",
    "underexposed": "an underexposed photo.",
    "overexposed": "an overexposed photo.",
    "bright": "a bright photo.",
    "washed out": "a washed out photo.",
    "low contrast": "a photo with low contrast.",
    "backlit": "a backlit photo.",
    "glare": "a photo with glare.",
    "reflection": "a photo with reflections.",
    "shadow": "a photo in deep shadow.",
    "noisy": "a noisy, grainy photo.",
    "low resolution": "a low resolution photo.",
    "pixelated": "a pixelated photo.",
    "compressed": "a jpeg corrupted photo.",
    "thumbnail": "a tiny thumbnail.",
    "cropped": "a cropped photo.",
    "close-up": "a close-up photo.",
    "far away": "a photo from far away.",
    "tilted": "a tilted photo.",
    "upside down": "a photo upside down.",
    "mirrored": "a mirrored photo.",
    "hidden": "a photo in which the object is hidden.",
    "covered by text": "a photo covered by text.",
    "watermark": "a photo with a watermark.",
    "time stamp": "a photo with a time stamp.",
    "border": "a photo in a frame with a border.",
    "black and white": "a black and white photo.",
    "sepia": "a sepia photo.",
    "faded": "a faded old photo.",
    "false colour": "a photo with false colors.",
    "colour cast": "a photo with a strong color cast.",
    "saturated": "an oversaturated photo.",
    "foggy": "a foggy photo.",
    "rainy": "a rainy photo.",
    "snowy": "a snowy photo.",
    "dirty lens": "a photo taken through a dirty lens.",
    "through glass": "a photo taken through glass.",
    "underwater": "an underwater photo.",
    "at night": "a photo at night.",
    "with a flash": "a photo taken with a flash.",
    "damaged": "a damaged photo.",
    "scratched": "a scratched photo.",
    "torn": "a torn photo.",
    "glitched": "a glitched image.",
    "nearly empty": "an empty image of one color.",
    "black": "a black image.",
    "white": "a white image.",
    "cluttered": "a cluttered photo.",
    "crowded": "a crowded photo.",
    "finger over the lens": "a photo with a finger over the lens.",
}
SCENE = """airport; alley; amusement park; attic; auditorium; balcony; ballroom; bamboo forest; bank; bar; barn; basement; bathroom; beach; bedroom; boardwalk; bridge; campsite; canal; canyon; car park;
casino; cave; cemetery; church interior; city skyline; classroom; coast; concert; conference room; construction site; corridor; countryside; courtroom; courtyard; cafe; crosswalk; desert; dining room;
factory; farm; field; fire; fireworks; forest; forest path; game room; garage; garden; glacier; golf course; gym; harbour; highway; hospital; hospital room; hotel room; house; iceberg; island; jungle; kindergarten;
kitchen; laboratory; lake; landfill; laundry room; living room; lobby; market; marsh; meadow; mountain; museum; nursery; ocean; office; operating room; orchard; park; parking lot; pasture; pet shop; playground; plaza;
pond; railway station; rainforest; reservoir; rice field; river; road; rock arch; roof; ruins; runway; savanna; school; shopping mall; shop window; ski slope; sky; snowfield; stable; stadium; staircase; storm;
street; suburb; subway station; sunset; supermarket; swamp; swimming hall; temple; theatre; train interior; tundra; underpass; vegetable garden; vineyard; warehouse; waterfall; wave; wedding; wheat field;
wind farm; workshop; yard; zoo; aquarium hall; starry sky; night sky; night street; party; parade; sports field; racecourse; boxing ring; car interior; aircraft cabin; cockpit; clouds"""
LISTED_MEDIA = "painting; poster; map; road map; comic book; web site; crossword puzzle; book jacket; menu; newspaper; magazine; postcard; sculpture; statue; figurine; tapestry; billboard; receipt"
LISTED_SCENES = """valley; volcano; alp; cliff; coral reef; geyser; lakeside; promontory; sandbar; seashore; library; restaurant; bakery; barbershop; bookshop; butcher shop; cinema; confectionery; grocery store;
shoe shop; tobacco shop; toyshop; church; mosque; monastery; palace; castle; prison; planetarium; greenhouse; patio; porch; swimming pool; house; building; office building; skyscraper; convenience store; stage; dock;
pier; dam; viaduct; barn; boathouse; lumbermill; home theater; cliff dwelling; tower; lighthouse"""
SYNONYMS = """airplane, aeroplane, plane; car, automobile, auto, motorcar; bicycle, bike, cycle; motorcycle, motorbike; cellular telephone, mobile phone, cell phone, cellphone, smartphone; sofa, couch; television set, television, tv;
refrigerator, fridge; trousers, pants; spectacles, glasses, eyeglasses; earphone, headphones, headset; taxi, cab; hog, pig, swine; cow, cattle; cock, rooster; doughnut, donut; omelet, omelette; hamburger, burger;
hotdog, hot dog; crayfish, crawfish; ice lolly, popsicle; ice bear, polar bear; grizzly, grizzly bear; cougar, puma, mountain lion; domestic ass, donkey; ladybug, ladybird; giant panda, panda; lesser panda, red panda;
person, human; trash can, waste container, ashcan, garbage can, dustbin; lightbulb, light bulb; baby buggy, stroller, pram; dishwasher, dish washer; automatic washer, washing machine, washer;
pug, pug-dog; saint bernard, st bernard; german short-haired pointer, german shorthaired; soft-coated wheaten terrier, wheaten terrier; scotch terrier, scottish terrier; egyptian cat, egyptian mau; persian cat, persian;
siamese cat, siamese; cocker spaniel, english cocker spaniel; staffordshire bullterrier, staffordshire bull terrier; basset, basset hound; shepherd dog, sheepdog;
Boston bull, Boston terrier; malamute, Alaskan malamute; chow, chow chow; Lhasa, Lhasa apso; Pembroke, Pembroke Welsh corgi, corgi; German shepherd, German shepherd dog, Alsatian; Leonberg, leonberger;
Japanese spaniel, Japanese chin; gull, seagull; rhinoceros, rhino; hippopotamus, hippo; chimpanzee, chimp; automobile, motor car; aerosol can, spray can; faucet, tap, water faucet; french fries, french fry, fries, chips;
wineglass, wine glass; ship, vessel; traffic light, stoplight; fireplug, fire hydrant; life jacket, life vest; binoculars, field glasses; hair dryer, hand blower, blow dryer; fire engine, fire truck;
pickup truck, pickup; laptop computer, laptop, notebook computer; washbasin, sink; toilet tissue, toilet paper; zucchini, courgette; eggplant, aubergine; prawn, shrimp; candy, sweets;
table-tennis table, ping-pong table; ax, axe; convertible, cabriolet; stove, cooker; jinrikisha, rickshaw; lifebuoy, life buoy, lifesaver; beach wagon, station wagon; racer, race car, racing car; pinwheel, paper windmill; sax, saxophone;
timber wolf, grey wolf; abaya, burka; Arabian camel, dromedary; mailbox, letter box; newsstand, kiosk; sweatshirt, hoodie; bus, motor coach; woman, lady; man, gentleman; liner, ocean liner"""
RANGES = {  # ImageNet's names stand in the order of a taxonomy: first and last number of a broader word
    "fish": (0, 6),
    "shark": (2, 4),
    "ray": (5, 6),
    "chicken": (7, 8),
    "bird": (7, 24),
    "owl": (24, 24),
    "eagle": (22, 22),
    "salamander": (25, 29),
    "frog": (30, 32),
    "turtle": (33, 37),
    "lizard": (38, 48),
    "crocodile": (49, 50),
    "dinosaur": (51, 51),
    "snake": (52, 68),
    "arachnid": (70, 78),
    "spider": (72, 77),
    "bird ": (80, 100),
    "parrot": (87, 90),
    "duck": (97, 98),
    "elephant": (101, 101),
    "mollusc": (112, 117),
    "snail": (112, 113),
    "crab": (118, 121),
    "lobster": (122, 123),
    "crustacean": (118, 126),
    "bird  ": (127, 146),
    "stork": (127, 128),
    "heron": (131, 132),
    "penguin": (145, 145),
    "seabird": (144, 146),
    "whale": (147, 148),
    "dog": (151, 268),
    "spaniel": (215, 220),
    "terrier": (179, 204),
    "wolf": (269, 271),
    "wild dog": (273, 275),
    "fox": (277, 280),
    "cat": (281, 285),
    "big cat": (286, 293),
    "bear": (294, 297),
    "insect": (300, 326),
    "beetle": (300, 307),
    "butterfly": (321, 326),
    "rabbit": (330, 332),
    "rodent": (333, 338),
    "squirrel": (335, 335),
    "horse": (339, 339),
    "hog": (341, 343),
    "cow": (345, 347),
    "sheep": (348, 349),
    "goat": (350, 350),
    "antelope": (351, 353),
    "camel": (354, 354),
    "ape": (365, 368),
    "monkey": (369, 382),
    "lemur": (383, 384),
    "elephant ": (385, 386),
    "fish ": (389, 397),
    "crustacean ": (118, 126),
    "amphibian (animal)": (25, 32),
    "reptile": (33, 68),
    "mammal": (101, 106),
    "mammal ": (147, 299),
    "mammal  ": (330, 388),
    "animal": (0, 397),
    "carnivore": (151, 299),
    "primate": (365, 384),
    "marsupial": (104, 106),
    "fungus": (991, 997),
    "mushroom": (991, 997),
    "jellyfish": (107, 107),
    "marine mammal": (147, 150),
    "whale ": (147, 148),
    "marine invertebrate": (107, 126),
    "invertebrate": (69, 79),
    "invertebrate ": (107, 126),
    "invertebrate  ": (300, 329),
    "carnivore ": (356, 362),
    "flower": (985, 986),
    "heron ": (131, 133),
    "eel": (390, 390),
    "gull": (146, 146),
    "dragonfly": (319, 320),
    "starfish": (327, 327),
    "weasel": (356, 359),
    "goose": (99, 99),
    "swan": (100, 100),
    "vulture": (23, 23),
}
BROADER = """animal: pet, mammal, bird, fish, reptile, amphibian (animal), insect, arachnid, crustacean, mollusc, invertebrate, carnivore, rodent, primate, dinosaur, cub, black sheep, mammoth, starfish, worm, wildlife
mammal: marine mammal, carnivore, rodent, primate, marsupial, antelope, dog, cat, horse, cow, bull, calf, sheep, goat, hog, pig, deer, elk, camel, bear, lion, tiger, leopard, cheetah, jaguar, lynx, cougar, wolf, fox, elephant, giraffe, zebra, hippopotamus, rhinoceros, rabbit, bat (animal), kangaroo, koala, otter, raccoon, ferret, mule, donkey, yak, alpaca, porcupine, squirrel, hamster, rat, mouse (animal), mammoth, manatee, giant panda, seal, walrus, dolphin, whale, pony, foal, kitten, puppy, lamb (animal), ram (animal), gazelle, polar bear, grizzly, monkey, ape, big cat
pet: dog, cat, hamster, goldfish, parakeet, rabbit, ferret, puppy, kitten
dog: puppy, shepherd dog, dalmatian, bulldog, pug-dog, wild dog, spaniel, terrier, hound, retriever, poodle, setter, corgi, husky, beagle, boxer (dog), american bulldog, shiba inu, havanese, leonberger, japanese chin, newfoundland, great pyrenees, samoyed, pomeranian, keeshond, chihuahua, english setter, german shorthaired, miniature pinscher
cat: kitten, tabby, persian, siamese, egyptian mau, abyssinian, bengal, birman, bombay, british shorthair, maine coon, russian blue, sphynx
big cat: lion, tiger, leopard, cheetah, jaguar, cougar, lynx
carnivore: dog, cat, big cat, bear, wolf, fox, seal, sea lion, otter, raccoon, ferret, weasel, hyena
rodent: rat, mouse (animal), hamster, squirrel, porcupine, guinea pig, beaver
marine mammal: dolphin, whale, manatee, seal, sea lion, walrus, dugong, harbor seal
marsupial: kangaroo, koala
primate: monkey, ape, gorilla, baboon, lemur
monkey: baboon
ape: gorilla, orangutan, chimpanzee, gibbon
whale: dolphin
bear: grizzly, polar bear, brown bear
horse: pony, foal
cow: bull, calf, ox
sheep: lamb (animal), ram (animal), black sheep
deer: elk
antelope: gazelle
hog: pig
goat: ibex
bird: seabird, crow, dove, duck, duckling, eagle, falcon, flamingo, goose, gull, heron, hummingbird, mallard, ostrich, owl, parakeet, parrot, pelican, penguin, pigeon, puffin, vulture, chicken, cock, hen, turkey, swan, raven, sparrow, woodpecker, canary, blue jay, stork, wild bird
parrot: parakeet
duck: duckling, mallard
crow: raven
pigeon: dove
seabird: gull, pelican, penguin, puffin, albatross
reptile: turtle, lizard, snake, crocodile, alligator, tortoise, sea turtle, dinosaur
turtle: sea turtle, tortoise
insect: beetle, butterfly, bee, ant, dragonfly, hornet, cockroach, ladybug, moth, fly, caterpillar
beetle: ladybug
invertebrate: insect, arachnid, crustacean, mollusc, jellyfish, starfish, snail, centipede, worm, marine invertebrate, octopus (animal), crab, lobster, shrimp, squid, spider, sea cucumber
marine invertebrate: crab, lobster, shrimp, starfish, jellyfish, octopus (animal), squid, oyster, scallop
crustacean: crab, lobster, shrimp, prawn, crawfish
shellfish: crab, lobster, shrimp, prawn, crawfish, oyster, scallop
seafood: shellfish, fish (food), salmon (food), octopus (food), squid (food), crabmeat, sushi
mollusc: snail, octopus (animal), squid, oyster, scallop
fish: shark, ray, eel, goldfish, seahorse, puffer (fish), salmon (fish)
vehicle: land vehicle, watercraft, aircraft, motor vehicle, car, truck, bus, bicycle, motorcycle, train, boat, ship, cart, wagon, tricycle, unicycle, scooter, sled, snowmobile, golf cart, wheelchair, tank, army tank, bulldozer, forklift, tractor, rocket, segway, hoverboard, carriage
land vehicle: motor vehicle, car, truck, bus, bicycle, motorcycle, train, cart, wagon, tricycle, unicycle, snowmobile, golf cart, tractor, army tank, carriage
motor vehicle: car, truck, bus, motorcycle, motor scooter, van, minibus, go-kart, golf cart, moped, snowmobile, tractor, recreational vehicle
car: limousine, convertible, sports car, race car, racer, minivan, jeep, taxi, beach wagon, model t, suv, ambulance, police cruiser, formula 1, sedan, hatchback
truck: pickup truck, tow truck, garbage truck, fire engine, trailer truck, heavy truck, moving van, van, police van
van: moving van, police van, minivan
bus: school bus, minibus, trolleybus, double-decker bus
motorcycle: dirt bike, moped, motor scooter
bicycle: mountain bike, bicycle-built-for-two, tandem bicycle, stationary bicycle
train: bullet train, locomotive, steam locomotive, electric locomotive, passenger car, freight car, railcar, streetcar
watercraft: boat, ship, jet ski, water scooter, raft, submarine
ship: container ship, cargo ship, cruise ship, passenger ship, liner, aircraft carrier, pirate (ship), wreck, submarine, warship
boat: canoe, kayak, dinghy, barge, ferry, yacht, sailboat, gondola (boat), houseboat, lifeboat, fireboat, river boat, speedboat, catamaran, trimaran, yawl, schooner, raft
aircraft: airplane, helicopter, airship, blimp, hot-air balloon, drone, balloon
airplane: airliner, jet plane, fighter jet, warplane, seaplane
plant: flower, tree, houseplant, potted plant, bamboo, willow, maple, palm tree, lavender, sugarcane
flower: rose, lily, carnation, sunflower, daisy, lavender, yellow lady's slipper, orchid, tulip
tree: willow, maple, palm tree, christmas tree
food: fruit, vegetable, dessert, seafood, bread, meat, pasta, salad, soup, sandwich, pizza, sushi, taco, burrito, cheese, egg, snack, candy, dish (food), ice cream, french fries, hamburger, hot dog, omelet, pancake, waffle, rice, guacamole, beef (food), sausage, steak (food), stew, casserole, baked goods, pastry, cake, pie, condiment, nut, butter, honey, jam, yogurt, dumpling, quesadilla, lasagna, spring rolls, egg roll, meatball, ham, salami, hummus, quiche, mashed potato, meat loaf, carbonara, dough, fish (food), turkey (food)
fast food: hamburger, pizza, french fries, hot dog, taco, burrito, sandwich
fruit: apple, orange, banana, lemon, lime, pear, peach, grape, strawberry, blueberry, raspberry, blackberry, pineapple, mango, watermelon, melon, cherry, plum, apricot, fig, pomegranate, grapefruit, kiwi fruit, papaya, persimmon, coconut, avocado, durian, jackfruit, custard apple, granny smith, clementine, mandarin orange, cantaloup, date (fruit), prune, hami melon, winter melon
vegetable: tomato, potato, carrot, broccoli, cauliflower, cabbage, cucumber, onion, garlic, lettuce, eggplant, zucchini, pumpkin, squash, pepper, bell pepper, artichoke, asparagus, radish, celery, turnip, pea (food), green bean, green onion, brussels sprouts, sweet potato, okra, mushroom, corn, red cabbage, green vegetables
dessert: cake, pie, ice cream, cookie, pudding, brownie, cupcake, tart, doughnut, trifle, popsicle, chocolate mousse, pastry, sherbert, ice lolly, milkshake, whipped cream, eclair
ice cream: sherbert
sandwich: hamburger, hot dog, submarine sandwich, cheeseburger
hamburger: cheeseburger
baked goods: bread, cake, pie, cookie, pastry, croissant, bagel, muffin, bun, doughnut, tart
bread: bagel, bun, croissant, pretzel, baguet, french loaf, pita (bread), toast (food), cornbread, tortilla
cake: birthday cake, wedding cake, cupcake, chocolate cake
pie: potpie, apple pie
potato: french fries, mashed potato
pasta: lasagna, spaghetti, carbonara
drink: coffee, tea, juice, beer, wine, cocktail, milk, water, espresso, cappuccino, alcohol, red wine, eggnog, lemonade, cider, smoothie, milkshake, vodka, tequila, martini, liquor
alcohol: beer, wine, cocktail, liquor, vodka, tequila, martini, red wine, cider
furniture: chair, table, bed, sofa, desk, cabinet, bookcase, bench, stool, wardrobe, dresser, nightstand, cupboard, crib, chest of drawers, armchair, shelf, couch, loveseat, ottoman
chair: armchair, rocking chair, folding chair, deck chair, recliner, highchair, barber chair, wheelchair, electric chair, chaise longue, throne
table: dining table, coffee table, desk, kitchen table, pool table, billiard table, side table, table-tennis table
bed: bunk bed, crib, cradle, sofa bed, infant bed, four-poster
sofa: sofa bed, loveseat, studio couch, futon
clothing: shirt, dress, trousers, jeans, skirt, jacket, coat, suit (clothing), sweater, hat, shoe, sock, glove, scarf, tie, underwear, swimsuit, swimwear, shorts, apron, uniform, robe, costume, footwear, headgear
footwear: shoe, boot, sandal, slipper (footwear), sneakers, high heels, leather shoes, clog, loafer, running shoe, ballet skirt
hat: cowboy hat, sombrero, fedora, sun hat, cap (headwear), beanie, bonnet, beret, bowler hat, bearskin (hat)
helmet: crash helmet, football helmet, bicycle helmet
musical instrument: guitar, piano, violin, cello, drum, flute, trumpet, saxophone, trombone, harp, accordion, banjo, clarinet, oboe, organ, tuba, harmonica, musical keyboard, recorder, cymbal, tambourine, maraca, bagpipe, french horn, cornet
guitar: acoustic guitar, electric guitar
piano: grand piano, upright (piano)
person: man, woman, boy, girl, ballplayer, scuba diver, groom (man), baby, child
weapon: gun, knife, sword, dagger, rifle, pistol, handgun, shotgun, cannon, missile, bow and arrow, revolver, assault rifle, machine gun, spear
gun: rifle, pistol, handgun, shotgun, revolver, assault rifle, machine gun
toy: doll, teddy bear, puppet, stuffed toy, rag doll, lego, pinwheel
ball: basketball, baseball, soccer ball, tennis ball, golf ball, volleyball, rugby ball, football, beachball, bowling ball, cricket ball, croquet ball, ping-pong ball, softball
building: house, castle, church, tower, skyscraper, office building, barn, lighthouse, palace, mosque, monastery
clock: alarm clock, wall clock, digital clock, analog clock, hourglass, sundial
watch: digital watch, pocket watch, stopwatch
tool: hammer, screwdriver, wrench, pliers, drill, saw, chainsaw, axe, shovel, power drill, handsaw
container: bottle, box, barrel, basket, bucket, can, jar, carton, crate
bottle: beer bottle, wine bottle, water bottle, pop bottle, pill bottle
tableware: plate, bowl, cup, mug, fork, knife, spoon, saucer, wine glass, chopsticks, platter, serving tray
home appliance: refrigerator, washing machine, dishwasher, oven, toaster, blender, microwave oven, vacuum cleaner, air conditioner, kitchen appliance, iron (for clothing), fan
sign: traffic sign, stop sign, street sign, signboard, billboard, crosswalk sign, speed limit sign
"""


def broader(texts: np.ndarray) -> dict[str, list[str]]:
    "The table by hand and ImageNet's ranges: a broader word and what is under it."
    found: dict[str, list[str]] = {}
    for line in BROADER.strip().splitlines():
        group, members = line.split(":")
        found.setdefault(group.strip(), []).extend(m.strip() for m in members.split(","))
    for group, (first, last) in RANGES.items():
        found.setdefault(group.strip(), []).extend(sensed(w) for w in texts[first : last + 1] if w not in DROP)
    return {
        group: [m for m in dict.fromkeys(members) if same_word(m) != same_word(group)]
        for group, members in sorted(found.items())
    }


def sensed(word: str) -> str:
    "ImageNet's name with its sense."
    return f"{word} ({SENSES[word]})" if SENSES.get(word) else word


PROPER = {
    "Christmas",
    "American",
    "French",
    "Formula",
    "Segway",
}  # capitals that stay in OpenImages and Objects365, which capitalise every name


def spelled(word: str, source: str) -> str:
    "A name as people write it, its sense in brackets."
    text = " ".join(word.replace("_", " ").split()).replace(") computer monitor", ")").replace("stero", "stereo")
    if source in ("imagenet", "lvis"):
        return sensed(text) if source == "imagenet" else text
    return " ".join(w if w.isupper() or w in PROPER else w.lower() for w in text.split())


def entries(words: np.ndarray, lists: np.ndarray) -> dict[str, int]:
    "Each entry's text and the row of the embedding it gets."
    drop = {w.strip() for w in DROP.replace("\n", " ").split(";")}
    found: dict[tuple[str, str], tuple[str, int]] = {}
    for source in ORDER:
        own: set[tuple[str, str]] = set()
        for i in np.flatnonzero(lists == source):
            text = spelled(str(words[i]), source)
            if str(words[i]) in drop or "/" in text or (key := (same_word(text), sense_of(text))) in own:
                continue
            same = [k for k in found if k[0] == key[0] and k not in own]
            if key not in found and (key[1] or not same):  # a sense of its own, or the first of its spelling
                found[key] = (text, int(i))
            own.add(key)
    return dict(found.values())


def main(npz: Path) -> None:
    "Write the vocabulary and the bank of its embeddings."
    z = np.load(npz)
    rows = entries(z["word"], z["list"])
    media, scenes = (
        {same_word(w) for w in text.replace("\n", " ").split(";")} for text in (LISTED_MEDIA, LISTED_SCENES)
    )
    kinds = ["medium" if same_word(t) in media else "scene" if same_word(t) in scenes else "thing" for t in rows]
    listed = Vocabulary(tuple(rows), tuple(kinds))
    written = Vocabulary.of(
        {"medium": MEDIUM, "condition": CONDITION, "scene": [w.strip() for w in SCENE.replace("\n", " ").split(";")]}
    )
    whole = listed.join(written)
    imagenet = z["word"][z["list"] == "imagenet"]
    synonyms = [[w.strip() for w in group.split(",")] for group in SYNONYMS.replace("\n", " ").split(";")]
    write_vocabulary(
        whole,
        ROOT / "attrood/assets/vocabulary.json",
        synonyms=synonyms,
        broader=broader(imagenet),
        about=__doc__.split("\n\n")[2].replace("\n", " "),
    )
    e = z["text_embeddings"][list(rows.values())]
    write_bank(
        ROOT / "attrood/assets/words_vitb32.npz",
        listed,
        e,
        {
            "model": "OpenAI CLIP ViT-B/32",
            "template": "a {}",
            "sources": [
                {
                    "lists": "LVIS, OpenImages, Objects365",
                    "source": "https://github.com/facebookresearch/Detic",
                    "license": "Apache-2.0",
                },
                {
                    "lists": "ImageNet",
                    "source": "https://github.com/rotem154154/clip_lt",
                    "license": "MIT",
                    "note": "prompt not recorded; the publisher's notebook has 'a photo of a {}'",
                },
            ],
        },
    )
    print(
        f"{len(whole)} words, { ({k: whole.kinds.count(k) for k in dict.fromkeys(whole.kinds)}) }; {len(listed)} with embeddings"
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
