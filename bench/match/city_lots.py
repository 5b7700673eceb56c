#!/usr/bin/env python3
"""city_lots.py FILE [LINES]: GeoJSON-like features of some 830 bytes, fields and frequencies like the San Francisco city lots file
that event matchers are usually measured with. Always the same bytes; LINES stops early."""
import json
import random
import sys

COUNT = 213068
R = random.Random(20261121)

# How often the streets that the rules ask for appear; all others share the rest.
ASKED = {
    "FULTON": 1910, "FUNSTON": 477, "MASON": 1200, "MASONIC": 750, "BLAKE": 70, "BLANCHE": 20, "BLANKEN": 352, "ACTON": 12,
    "ACADIA": 12, "DRUMM": 13, "DRAKE": 25, "RHODE ISLAND": 300, "RHINE": 28, "JEFFERSON": 131, "BEACH": 211, "HYDE": 1758,
    "CHESTNUT": 825, "FLEMING": 963, "STERLING": 1000, "CHICAGO": 282, "SANTIAGO": 400, "CRANLEIGH": 24, "17TH": 1900,
}
OTHERS = """MARKET,MISSION,VALENCIA,GUERRERO,DOLORES,CHURCH,SANCHEZ,NOE,CASTRO,DIAMOND,DOUGLASS,CALIFORNIA,SACRAMENTO,CLAY,
WASHINGTON,JACKSON,PACIFIC,BROADWAY,VALLEJO,GREEN,UNION,FILBERT,GREENWICH,LOMBARD,CABRILLO,BALBOA,ANZA,GEARY,CLEMENT,LAKE,
JUDAH,KIRKHAM,LAWTON,MORAGA,NORIEGA,ORTEGA,PACHECO,QUINTARA,RIVERA,TARAVAL,ULLOA,VICENTE,WAWONA,YORBA,SLOAT,OCEAN,HOLLOWAY,
GARFIELD,SHIELDS,SARGENT,RANDOLPH,BROAD,PLYMOUTH,CAPITOL,MIRAMAR,ASHTON,FAXON,JULES,BRIGHT,HEAD,VICTORIA,RALSTON,VERNON,ARCH,
BRYANT,HARRISON,FOLSOM,HOWARD,BRANNAN,TOWNSEND,KING,BERRY,POTRERO,UTAH,VERMONT,KANSAS,DE HARO,CAROLINA,WISCONSIN,ARKANSAS,
CONNECTICUT,MISSOURI,TEXAS,MISSISSIPPI,PENNSYLVANIA,INDIANA,MINNESOTA,TENNESSEE,ILLINOIS,3RD,4TH,5TH,6TH,7TH,8TH,9TH,10TH,11TH,
12TH,14TH,15TH,16TH,18TH,19TH,20TH,21ST,22ND,23RD,24TH,25TH,26TH,27TH,28TH,29TH,30TH,31ST,32ND,33RD,34TH,35TH,36TH,37TH,38TH,
39TH,40TH,41ST,42ND,43RD,44TH,45TH,46TH,47TH,48TH,SAN BRUNO,BAYSHORE,LELAND,VISITACION,ARLETA,RAYMOND,TEDDY,CAMPBELL,WILDE,
HARKNESS,ANKENY,MANSELL,OLMSTEAD,DWIGHT,WOOLSEY,WAYLAND,BACON,BURROWS,FELTON,SILLIMAN,SILVER,HAYES,FELL,OAK,PAGE,HAIGHT,WALLER,
EDDY,TURK,ELLIS,POST,SUTTER,BUSH,PINE,STOCKTON,POWELL,TAYLOR,JONES,LEAVENWORTH,LARKIN,POLK,VAN NESS,FRANKLIN,GOUGH,OCTAVIA,
LAGUNA,BUCHANAN,WEBSTER,FILLMORE,STEINER,PIERCE,SCOTT,DIVISADERO,BRODERICK,BAKER,LYON,PRESIDIO,CLAYTON,ALABAMA,FLORIDA,YORK,
HAMPSHIRE""".replace("\n", "").split(",")
UNNAMED = 1900
KINDS = ["AVE", "AVE", "AVE", "DR", "WAY", "BLVD", "TER", "CT", "PL"]
LOTS = ["1430022"] + ["2607117"] * 101 + ["2607218"] * 35 + ["3745012"] * 655 + ["VACSTWIL"]


def street_of_each():
    streets = [name for name, count in ASKED.items() for _ in range(count)]
    while len(streets) < COUNT - UNNAMED:
        streets.append(R.choice(OTHERS))
    streets += [None] * (COUNT - len(streets))
    R.shuffle(streets)
    return streets


def point(x, y):
    return {"x": x + R.uniform(-4e-4, 4e-4), "y": y + R.uniform(-3e-4, 3e-4), "z": 0}


def main():
    lines = int(sys.argv[2]) if len(sys.argv) > 2 else COUNT
    streets = street_of_each()
    lot_of = dict(zip(set(R.sample(range(COUNT), len(LOTS))), LOTS))
    multi = set(R.sample(range(COUNT), 120))
    with open(sys.argv[1], "w", encoding="ascii") as out:
        for i in range(min(lines, COUNT)):
            lot = lot_of.get(i) or "%04d%03d" % (R.randint(1, 7999), R.randint(1, 99) if R.random() < .97 else R.randint(100, 899))
            number = str(R.randint(1, 4899)) if R.random() < .985 else "441"
            street = streets[i]
            kind = None if street is None else "ST" if R.random() < .5513 else R.choice(KINDS)
            x, y = R.triangular(-122.513, -122.37, -122.44), R.uniform(37.708, 37.81)
            ring = [point(x, y) for _ in range(max(5, min(40, int(R.gauss(9, 3)))))]
            if R.random() < 0.001:
                ring[0]["x"] = -122.42916360922355
            ring.append(dict(ring[0]))
            geometry = {"type": "MultiPolygon" if i in multi else "Polygon", "firstCoordinates": dict(ring[0]),
                        "coordinates": [ring] if i in multi else ring}
            properties = {"MAPBLKLOT": lot, "BLKLOT": lot, "BLOCK_NUM": lot[:4], "LOT_NUM": lot[4:], "FROM_ST": number,
                          "TO_ST": number, "STREET": street, "ST_TYPE": kind, "ODD_EVEN": R.choice("EO")}
            out.write(json.dumps({"type": "Feature", "properties": properties, "geometry": geometry}, separators=(",", ":")) + "\n")


main()
