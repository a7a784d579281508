/** What the generated workers are made of. `zip` is the fixed start of the city's codes, `hub` its share of warehouse work. */
export const CITIES = [
  { city: "Joliet", state: "IL", zip: "604", area: "815", weight: 9, hub: 0.8 },
  { city: "Chicago", state: "IL", zip: "606", area: "312", weight: 12, hub: 0.4 },
  { city: "Rockford", state: "IL", zip: "611", area: "779", weight: 3, hub: 0.5 },
  { city: "Boston", state: "MA", zip: "021", area: "617", weight: 7, hub: 0.2 },
  { city: "Springfield", state: "MA", zip: "011", area: "413", weight: 2, hub: 0.3 },
  { city: "Newark", state: "NJ", zip: "071", area: "973", weight: 7, hub: 0.6 },
  { city: "Hartford", state: "CT", zip: "061", area: "860", weight: 3, hub: 0.3 },
  { city: "Providence", state: "RI", zip: "029", area: "401", weight: 2, hub: 0.3 },
  { city: "Columbus", state: "OH", zip: "432", area: "614", weight: 6, hub: 0.6 },
  { city: "Memphis", state: "TN", zip: "381", area: "901", weight: 6, hub: 0.7 },
  { city: "Atlanta", state: "GA", zip: "303", area: "404", weight: 7, hub: 0.5 },
  { city: "Dallas", state: "TX", zip: "752", area: "214", weight: 9, hub: 0.5 },
  { city: "Houston", state: "TX", zip: "770", area: "713", weight: 8, hub: 0.4 },
  { city: "Ontario", state: "CA", zip: "917", area: "909", weight: 8, hub: 0.8 },
  { city: "Oakland", state: "CA", zip: "946", area: "510", weight: 4, hub: 0.4 },
  { city: "Reno", state: "NV", zip: "895", area: "775", weight: 3, hub: 0.7 },
  { city: "Seattle", state: "WA", zip: "981", area: "206", weight: 4, hub: 0.3 },
] as const;

export const WAREHOUSE_ROLES = [
  "forklift driver",
  "forklift driver",
  "forklift driver",
  "order picker",
  "order picker",
  "loader",
  "shift lead",
] as const;

export const OTHER_ROLES = [
  "welder",
  "electrician",
  "machinist",
  "line cook",
  "home health aide",
  "security guard",
  "delivery driver",
  "carpenter",
  "janitor",
  "cashier",
  "medical assistant",
  "painter",
] as const;

/** Dollars an hour before experience. */
export const BASE_RATES: Record<string, number> = {
  "forklift driver": 19.5,
  "order picker": 16.25,
  loader: 16.75,
  "shift lead": 25,
  welder: 24.5,
  electrician: 31,
  machinist: 26,
  "line cook": 16,
  "home health aide": 15.5,
  "security guard": 17,
  "delivery driver": 19,
  carpenter: 27,
  janitor: 15.75,
  cashier: 14.5,
  "medical assistant": 19.75,
  painter: 21,
};

export const FIRST_NAMES =
  "Maria James Aisha Wei Olga Carlos Priya Tom José Linda Robert Fatima Hiro Ana Miguel Grace Dmitri Noor Elena Samuel Chloë Andre Rosa Kevin Mei Omar Ruth Diego Sofía Peter Zainab Luis Hannah Viktor Amara Juan Denise Raj Ingrid Marcus Lucía Paul Yusuf Teresa Ben Nia Ivan Carmen Malik Joan".split(
    " ",
  );

export const LAST_NAMES =
  "García Smith Khan Chen Ivanova López Patel O'Neil Johnson Núñez Brown Okafor Tanaka Rivera Nguyen Kowalski Davis Haddad Silva Müller Wilson Ortiz Cohen Jackson Reyes Lindqvist Thomas Mbeki Rossi Moore Yılmaz Clark Castillo Young Petrov Adams Singh Baker Morales Schmidt Flores Bell Abebe Price Ramos Hughes Kaur Foster Delgado Byrne".split(
    " ",
  );

export const MAIL_HOSTS = ["example.com", "example.org", "mail.example.net", "post.example.com"] as const;

export const SKILLS =
  "forklift,reach truck,pallet jack,OSHA 10,OSHA 30,first aid,CPR,inventory,RF scanner,shipping,receiving,cycle counts,welding,blueprints,CNC,food safety,customer service,Spanish,Polish,Excel,dispatch,hazmat,CDL class B,night shift,scheduling,lockout tagout,cold storage,5S".split(
    ",",
  );

export const EMPLOYERS =
  "Great Lakes Freight,Prairie Cold Storage,Harbor & Sons,Northline Logistics,Bluebird Foods,Three Rivers Supply,Atlas Paper,Summit Medical,Cornerstone Builders,Redwood Retail,Keystone Metals,Lakeshore Dairy,Union Parcel,Granite Tools,Sunbelt Produce,Pioneer Glass,Meridian Parts,Cedar Home Care,Delta Textiles,Ironworks Co-op,Evergreen Recycling,Capital Kitchens,Silver Fleet,Westgate Stores".split(
    ",",
  );

export const VERBS =
  "loaded,counted,inspected,repaired,packed,moved,scheduled,cleaned,labelled,audited,unloaded,tracked,assembled,restocked,delivered,sorted,staged,checked,logged,received,wrapped,weighed".split(
    ",",
  );

export const THINGS =
  "mixed pallets,inbound trailers,cold-chain orders,returned goods,spare parts,steel coils,fragile freight,daily orders,damaged cartons,export containers,work orders,shelf stock,patient supplies,battery packs,rush shipments,bulk chemicals,tool cribs,store deliveries,paper rolls,produce crates,glass panels,roof panels,dock doors,conveyor lines".split(
    ",",
  );

export const PLACES =
  "on the night shift,across two docks,in a freezer at -20 F,for 14 stores,during peak season,with a crew of six,under audit,on weekends,in a bonded yard,for the regional hub,beside live traffic,to the hour,from paper to scanner,with no lost-time injury,ahead of plan,in three languages".split(
    ",",
  );

export const TRAITS =
  "early,careful,steady,quick,kind,exact,calm,direct,curious,patient,thorough,reliable,tidy,alert,practical,good-humored,hands-on,quiet".split(
    ",",
  );

export const QUOTES =
  "the best we had,never late and never careless,would hire again tomorrow,the one who reads the manual,keeps the whole dock calm,counts twice and signs once,taught half of this crew,asks before the mistake not after,our safest driver three years running,leaves the place better than it was".split(
    ",",
  );

export const REFEREES =
  "the night supervisor,a site manager,the safety officer,a former team lead,the branch director,the dispatch desk".split(
    ",",
  );

export const GOALS =
  "a day shift close to home,more hours before winter,a lead position,work that uses my licence,a steady crew,training on new equipment,a move into dispatch,a union site".split(
    ",",
  );
