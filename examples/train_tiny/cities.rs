//! City names: real ones for training, real ones that training never sees, and parts for made-up ones.

/// Seen in training.
pub const SEEN: &[&str] = &[
    "London", "Tokyo", "Berlin", "Madrid", "Vienna", "Oslo", "Dublin", "Prague", "Athens", "Warsaw", "Budapest", "Amsterdam", "Brussels", "Helsinki",
    "Stockholm", "Copenhagen", "Lyon", "Marseille", "Nice", "Toulouse", "Bordeaux", "Hamburg", "Munich", "Frankfurt", "Cologne", "Stuttgart", "Dresden",
    "Leipzig", "Milan", "Naples", "Turin", "Venice", "Florence", "Bologna", "Palermo", "Barcelona", "Valencia", "Malaga", "Bilbao", "Porto", "Geneva",
    "Basel", "Bern", "Salzburg", "Graz", "Krakow", "Gdansk", "Poznan", "Brno", "Bratislava", "Ljubljana", "Zagreb", "Split", "Belgrade", "Sofia",
    "Bucharest", "Istanbul", "Ankara", "Izmir", "Kyiv", "Odessa", "Riga", "Tallinn", "Minsk", "Moscow", "Tbilisi", "Baku", "Cairo", "Tunis", "Algiers",
    "Casablanca", "Marrakesh", "Dakar", "Lagos", "Abuja", "Nairobi", "Mombasa", "Kampala", "Kigali", "Lusaka", "Harare", "Windhoek", "Durban",
    "Johannesburg", "Pretoria", "Dubai", "Doha", "Muscat", "Riyadh", "Kuwait City", "Amman", "Beirut", "Damascus", "Tehran", "Baghdad", "Karachi",
    "Lahore", "Delhi", "Mumbai", "Kolkata", "Chennai", "Bangalore", "Hyderabad", "Jaipur", "Colombo", "Dhaka", "Kathmandu", "Yangon", "Bangkok",
    "Phuket", "Hanoi", "Manila", "Cebu", "Jakarta", "Surabaya", "Singapore", "Kuala Lumpur", "Hong Kong", "Shanghai", "Beijing", "Guangzhou", "Shenzhen",
    "Chengdu", "Wuhan", "Xian", "Taipei", "Seoul", "Busan", "Osaka", "Kyoto", "Nagoya", "Sapporo", "Sydney", "Melbourne", "Brisbane", "Perth",
    "Adelaide", "Canberra", "Auckland", "Wellington", "New York", "Boston", "Chicago", "Miami", "Dallas", "Houston", "Denver", "Seattle", "Portland",
    "Los Angeles", "San Francisco", "San Diego", "Las Vegas", "Phoenix", "Atlanta", "Detroit", "Philadelphia", "Washington", "Baltimore", "Cleveland",
    "Toronto", "Montreal", "Vancouver", "Ottawa", "Calgary", "Mexico City", "Guadalajara", "Cancun", "Havana", "Kingston", "Panama City", "San Jose",
    "Bogota", "Medellin", "Cali", "Quito", "Lima", "Cusco", "La Paz", "Santiago", "Buenos Aires", "Cordoba", "Mendoza", "Montevideo", "Asuncion",
    "Sao Paulo", "Rio de Janeiro", "Brasilia", "Recife", "Edinburgh", "Glasgow", "Manchester", "Liverpool", "Birmingham", "Bristol", "Leeds", "Cardiff",
    "Belfast", "Cork", "Bergen", "Gothenburg", "Aarhus", "Turku", "Zürich", "Málaga", "Düsseldorf", "Nürnberg", "São Luís", "Łódź", "Malmö", "Besançon",
];

/// Never seen in training.
pub const HELD: &[&str] = &[
    "Paris", "Rome", "Lisbon", "Reykjavik", "Vilnius", "Sarajevo", "Skopje", "Tirana", "Podgorica", "Chisinau", "Valletta", "Nicosia", "Luxembourg",
    "Antwerp", "Ghent", "Rotterdam", "Utrecht", "Hanover", "Bremen", "Nantes", "Lille", "Strasbourg", "Grenoble", "Genoa", "Verona", "Trieste", "Pisa",
    "Seville", "Granada", "Zaragoza", "Faro", "Coimbra", "Innsbruck", "Linz", "Wroclaw", "Lublin", "Ostrava", "Debrecen", "Timisoara", "Varna",
    "Dubrovnik", "Thessaloniki", "Heraklion", "Antalya", "Yerevan", "Tashkent", "Samarkand", "Almaty", "Bishkek", "Kabul", "Islamabad", "Peshawar",
    "Goa", "Pune", "Ahmedabad", "Vientiane", "Phnom Penh", "Saigon", "Bandung", "Denpasar", "Davao", "Hiroshima", "Fukuoka", "Nagasaki", "Incheon",
    "Harbin", "Nanjing", "Suzhou", "Lhasa", "Ulaanbaatar", "Darwin", "Hobart", "Cairns", "Christchurch", "Dunedin", "Honolulu", "Anchorage", "Minneapolis",
    "New Orleans", "Salt Lake City", "Pittsburgh", "Nashville", "Memphis", "Tucson", "Santa Fe", "Quebec", "Winnipeg", "Halifax", "Monterrey", "Oaxaca",
    "Managua", "Caracas", "Maracaibo", "Guayaquil", "Arequipa", "Valparaiso", "Rosario", "Salvador", "Fortaleza", "Manaus", "Accra", "Kumasi", "Abidjan",
    "Bamako", "Lome", "Kinshasa", "Luanda", "Maputo", "Gaborone", "Cape Town", "Zanzibar", "Addis Ababa", "Khartoum", "Djibouti", "Antananarivo", "Tripoli",
    "Fez", "Rabat", "Aberdeen", "Inverness", "Plymouth", "Newcastle", "Sheffield", "Limerick", "Galway", "Trondheim", "Stavanger", "Uppsala", "Tampere",
];

/// Beginnings of syllables.
pub const ONSET: &[&str] = &[
    "", "", "b", "br", "c", "ch", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "kh", "kr", "l", "m", "n", "p", "pr", "ph", "r", "s", "sh", "st", "sk",
    "t", "th", "tr", "v", "w", "y", "z", "q", "x", "gl", "bl", "sl", "sp", "sw", "ts", "zh", "kw", "ny", "ll", "rr", "ss", "tt",
];
/// Vowels.
pub const VOWEL: &[&str] = &["a", "e", "i", "o", "u", "a", "e", "i", "o", "u", "ai", "au", "ea", "ee", "ei", "ia", "ie", "io", "oa", "oo", "ou", "ue", "y", "ü", "ö", "ä", "é", "ã", "ø"];
/// Ends of syllables.
pub const CODA: &[&str] = &["", "", "", "", "", "n", "r", "l", "s", "m", "t", "k", "d", "g", "p", "ng", "nd", "rg", "st", "ck", "ll", "nt", "rt", "x", "z", "v", "b", "f", "ch", "sh", "rk", "lm"];
/// Ends of names.
pub const TAIL: &[&str] = &["ville", "ton", "burg", "berg", "stad", "port", "ford", "field", "grad", "abad", "pur", "ham", "by", "dorf", "heim", "polis", "mouth", "bridge", "haven", "wood", "dale", "land", "minster", "ia", "istan", "ova", "ovo", "ice", "ing", "ow", "kirk", "fjord", "holm", "vik", "wick", "shire"];
/// Words before a name.
pub const BEFORE: &[&str] = &["San", "Santa", "Saint", "St.", "New", "Port", "Fort", "El", "La", "Las", "Los", "Villa", "Mount", "Lake", "North", "South", "East", "West", "Old", "Grand", "Bad", "Cape", "Puerto", "Nova", "Upper", "Rio", "Al", "Ban", "Kota", "Monte"];
/// Words after a name.
pub const AFTER: &[&str] = &["City", "Town", "Beach", "Springs", "Falls", "Bay", "Hills", "Valley", "del Mar", "am See", "on Sea", "Harbour", "Island", "Ridge", "Creek"];
