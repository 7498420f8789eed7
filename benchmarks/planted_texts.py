"""Texts for `planted.py`, as a person or a model would write them: what filters should find, and what not.

They were written down before the lists of the filters were tried on them; what a filter misses stays in.
"""

from __future__ import annotations

CHOICES_THAT_ARE_NONE = """
All of the above
All of the above are correct.
all of these sounds
Every one of the options listed
Everything mentioned above
None of the above
None of these options
None of the given choices fits
Neither of them
No correct option is given
Something else entirely
The right answer is not listed
Other
Both A and B
Both of the above
A and C
Options B and D
More than one of these
Two or more of the above apply
Cannot be determined
It can't be determined from the audio alone
The source cannot be identified with certainty
It is impossible to tell from this recording
There's no way of knowing
Not enough information to answer
There is insufficient evidence in the clip
The audio does not provide enough detail
The recording doesn't say
The clip never reveals this
Unknown
Unclear from the recording
It remains unclear
Not specified
This is not mentioned in the audio
I don't know
I can't say for sure
Hard to say
Difficult to determine from the sound
Indeterminate
Ambiguous
It depends
Nobody can tell
Could be any of these
No way to tell
Keine der genannten Antworten
Alle oben genannten
Das lässt sich nicht bestimmen
Nicht genug Informationen
Aucune de ces réponses
Toutes ces réponses
Impossible de le savoir
On ne peut pas le déterminer
Ninguna de las anteriores
Todas las anteriores
No se puede determinar
Ничего из перечисленного
Невозможно определить
以上都不是
以上皆是
无法判断
信息不足，无法确定
上記のいずれでもない
判断できません
해당 없음
알 수 없음
""".strip().split("\n")

QUESTIONS_WITHOUT_ANSWER = """
Which of these facts cannot be determined from the recording?
What can't be inferred from the sounds alone?
Is there enough information to tell who is speaking?
Is it possible to tell which animal makes the noise?
Which detail is left unspecified in the clip?
If none of the above fits, which sound comes closest?
Are all of the above sounds present?
What remains unknown based on the audio?
Welche der Angaben lässt sich nicht bestimmen?
无法判断的是哪一项？
""".strip().split("\n")

QUESTIONS_OF_WHAT_IS_SEEN = """
What is happening in this video?
What can be seen while the dog barks?
Which animal do you see next to the tractor?
What colour is the car that drives past?
What color shirt is the man wearing?
Which instrument is shown at the beginning?
What does the picture depict?
What is visible in the background?
Who appears on the screen when the bell rings?
What does the caption say about the dog?
According to the caption, what comes first?
According to the description, which animal is heard?
Based on the provided description, what is the mood?
Which sound is mentioned in the description?
What does the transcript tell about the speaker?
What is described in the notes as loud?
Which of these does the annotation mention?
What do the notes say about the engine?
As stated in the summary, who is laughing?
What does the image show during the thunder?
Which event does the footage capture?
What would the viewer notice first?
What does the singer look like?
What facial expression does the speaker have?
How many people are seen dancing?
From the subtitles, what is said first?
Which vehicle is depicted in the clip?
What is the visual setting of the scene?
What happens in the frames after the bell?
What does the text describe as faint?
Was ist im Video zu sehen?
Welche Farbe hat das Auto im Bild?
Que voit-on à l'écran ?
Que dit la légende ?
¿Qué se ve en el vídeo?
¿Qué aparece en la imagen?
Что видно на экране?
视频里发生了什么？
画面中有什么动物？
動画で何が起きていますか？
화면에 무엇이 보입니까?
""".strip().split("\n")

CHOICES_OF_WHAT_IS_SEEN = """
the dog in the video
a barking dog, as described in the caption
the caption mentions a dog
what the description says about rain
a visibly angry man
the man on the screen
the horse shown in the picture
according to the notes, a siren
the text describes a bell
an engine, as stated above
""".strip().split("\n")

SOUND_WORDS_THAT_LOOK_LIKE_SIGHT = (
    ("What is the stereo image like?", ("wide", "narrow", "centred", "off to the left")),
    ("What is the tone colour of the horn?", ("bright", "dull", "nasal", "hollow")),
    ("Which kind of music is it, perhaps from a video game?", ("a chiptune", "a waltz", "a march", "an aria")),
    ("What does the man say when he leaves?", ("see you tomorrow", "good night", "thank you", "hello again")),
    ("What is going on?", ("somebody taking pictures", "somebody eating", "somebody sleeping", "somebody rowing")),
    ("What does it sound like?", ("a film being rewound", "a drill", "a saw", "a sewing machine")),
    ("What is most likely going on?", ("playing a video game", "watching TV", "baking bread", "doing laundry")),
    ("Which mood is described by the lyrics?", ("longing", "anger", "joy", "boredom")),
    ("Which note is played after the note C?", ("D", "E", "F", "G")),
    ("According to the speaker, what happened?", ("a fire", "a flood", "a storm", "a theft")),
    ("What is mentioned in the song?", ("a river", "a train", "a letter", "a bridge")),
    ("What does the announcer describe?", ("a goal", "a foul", "a storm", "a parade")),
    ("What kind of noise is it, by its spectrum?", ("pink noise", "white noise", "brown noise", "blue noise")),
    ("How does the scene sound?", ("calm", "busy", "tense", "festive")),
    ("Which device clicks?", ("a camera", "a stapler", "a mouse", "a lighter")),
    ("Which sound frames the passage?", ("a gong", "a clap", "a drum roll", "a whistle")),
)
"""Clean questions that a coarse list would drop."""

ANSWERS_THAT_LOOK_EMPTY = (
    (
        "What does the woman say?",
        ("that none of the men knew", "that she left early", "that he is late", "nothing new"),
    ),
    ("How many voices are there?", ("no voices", "one voice", "two voices", "three voices")),
    ("How do the two sounds compare?", ("both have the same pitch", "the first is higher", "the second is higher")),
    ("Who sings?", ("a man and a woman", "a boy", "two girls", "a choir")),
    ("Which key is it in?", ("A and B flat", "C and D flat", "E and F sharp", "G and A flat")),
    ("How does the loudness change?", ("not at all", "it grows", "it fades", "it swells and fades")),
    ("How does he sound?", ("uncertain", "calm", "angry", "bored")),
    ("Which song title is sung?", ("All of Me", "Unknown Pleasures", "Both Sides Now", "Somebody Else's Guy")),
    ("What does the crowd do?", ("all of them cheer", "some of them boo", "they leave", "they sing")),
    ("Which information is announced?", ("the departure time", "a change of platform", "a lost child", "a delay")),
    ("How is the speech?", ("hard to understand", "clear", "hoarse", "whispered")),
    (
        "What is the effect of the echo?",
        ("it blurs the rhythm", "it hides the melody", "it adds depth", "it adds warmth"),
    ),
    (
        "What is true of the speaker?",
        ("she is not sure of herself", "she is joking", "she is in a hurry", "she is ill"),
    ),
    ("What does the guide explain?", ("how to get information", "where to eat", "when to meet", "what to wear")),
)
"""Clean questions that a coarse list would drop."""

BADLY_FORMED = (
    ("Which of the sounds is it?", ("A) a dog", "B) a cat", "C) a cow")),
    ("Which of the sounds is it?", ("(a) a dog", "(b) a cat", "(c) a cow")),
    ("Which of the sounds is it?", ("[A] a dog", "[B] a cat", "[C] a cow")),
    ("Which of the sounds is it?", ("1. a dog", "2. a cat", "3. a cow")),
    ("Which of the sounds is it?", ("A: a dog", "B: a cat", "C: a cow")),
    ("Which of the sounds is it?", ("a. a dog", "b. a cat", "c. a cow")),
    ("Which of the sounds is it?", ("(1) a dog", "(2) a cat", "(3) a cow")),
    ("Where does the barking dog bark?", ("the barking dog", "a house", "a field")),
    ("What is the source of the church bells?", ("church bells", "a fire", "a clock")),
    ("Which machine makes the noise of the sewing machine?", ("Sewing machine", "Printer", "Fan")),
    ("Is the loud rooster a rooster?", ("a loud rooster", "a hen", "a duck")),
    ("What is heard \ufffd\ufffd here?", ("a dog", "a cat", "a cow")),
    ("What is heard here?", ("a dog\x00", "a cat", "a cow")),
    ("What is heard here?", ("a dog\nor two", "a cat", "a cow")),
    ("What is \u202eheard here?", ("a dog", "a cat", "a cow")),
    ("???", ("a dog", "a cat", "a cow")),
    ("Eh?", ("a dog", "a cat", "a cow")),
    ("What is heard here?", ("a dog", "—", "a cow")),
    ("What is heard here?", ("a dog", "...", "a cow")),
    ("What is heard here? " * 60, ("a dog", "a cat", "a cow")),
    ("What is heard here?", ("a dog " * 60, "a cat", "a cow")),
    ("What is heard here?", ("a dog", "a cat " * 20_000, "a cow")),
    ("这里的狗叫声是什么？", ("狗叫声", "猫叫声", "鸟叫声")),
    ("", ("a dog", "a cat", "a cow")),
)
WELL_FORMED = (
    ("Which comes first, the dog or the cat?", ("the dog", "the cat")),
    ("Is there a dog?", ("No", "Yes")),
    ("Which chord is heard?", ("A", "B minor", "C: sus", "D")),
    ("Which chord is played?", ("F#:maj7", "C:min", "G:7", "A:min/5")),
    ("Is it a doghouse that creaks?", ("dog", "cat")),
    ("Which is the louder of the sounds, the bell or the horn?", ("the bell", "the horn", "both alike")),
    ("谁在说话？", ("男人", "女人")),
    ("كم مرة يسمع الجرس؟", ("مرة", "مرتين", "ثلاث مرات")),
    ("कौन सा वाद्य बजता है?", ("तबला", "सितार", "बांसुरी")),
    ("How many sounds are there?", ("1", "2", "3", "4", "5", "6", "7", "8", "9", "10")),
    ("At what time does it begin?", ("0.5 s", "1.5 s", "2.5 s", "3.5 s")),
)

QUESTIONS_OF_COLOUR = (
    "What color is the dog?",
    "What colour does the car have?",
    "Which of the colors appears first?",
    "Is the bird colorful or grey?",
    "Which coloured ball bounces?",
    "What are the colours of the flag?",
)

UNSUPPORTED = (
    # captions; choices: the first is what was made up, the last is what the captions say
    (("A dog barks twice.",), ("a cat meowing", "a cow mooing", "a dog barking")),
    (("A man whistles softly while water runs.",), ("a woman sings", "a child cries", "a man whistling")),
    (("Heavy rain on a tin roof.",), ("footsteps in snow", "a crackling fire", "rain on a roof")),
    (("A train passes and its horn sounds.",), ("a ship's engine", "a helicopter", "a passing train")),
    (("Somebody types on a keyboard.",), ("somebody plays the drums", "a door slams", "typing on a keyboard")),
    (
        ("An electric guitar plays a fast solo.",),
        ("a slow piano ballad", "a string quartet", "an electric guitar solo"),
    ),
    (("A crowd cheers and claps.",), ("an empty street", "a lone wolf howls", "a cheering crowd")),
    (("A kettle boils and whistles.",), ("a lawn mower starts", "an owl hoots", "a boiling kettle")),
    (("Church bells ring in the distance.",), ("a fire alarm goes off", "a phone vibrates", "distant church bells")),
    (("A baby laughs, then coughs.",), ("an old man snores", "a horse neighs", "a laughing baby")),
    (("Two women talk about a journey.",), ("three men argue", "a robot announces", "women talking")),
    (("A motorcycle accelerates.",), ("a bicycle bell rings", "a cart is pulled", "an accelerating motorcycle")),
    (("Waves break on the shore.",), ("a tap drips", "ice cracks", "breaking waves")),
    (("Glass shatters on the floor.",), ("paper is torn", "wood is sawn", "shattering glass")),
    (("A violin plays a sad melody.",), ("a happy trumpet march", "a tuba polka", "a sad violin melody")),
    (("There is no speech, only wind.",), ("speech", "singing", "wind")),
    (("The bell strikes 3 times.",), ("five strikes", "seven strikes", "three strikes")),
    (("一只狗在叫。",), ("猫叫声", "牛叫声", "狗叫")),
    (("Ein Hund bellt laut.",), ("eine Katze miaut", "ein Pferd wiehert", "ein Hund bellt")),
    (("Un chien aboie au loin.",), ("un chat miaule", "un cheval hennit", "un chien aboie")),
    (("Громко лает собака.",), ("мяукает кошка", "ржёт лошадь", "лает собака")),
    (("يسمع نباح كلب",), ("مواء قطة", "صهيل حصان", "نباح كلب")),
)

SAME_QUESTION = (
    str.upper,
    lambda text: f"  {text.replace(' ', '  ')}",
    lambda text: text.replace("?", " ?"),
    lambda text: text.replace("?", "？"),
    lambda text: f"{text.removesuffix('?')} exactly?" if len(text.split()) > 6 else text.lower(),
    lambda text: text.replace("the", "The").replace("in", "In"),
    lambda text: f"{text.removesuffix('?')}!",
    lambda text: " ".join(reversed(text.removesuffix("?").split())) + "?",
)
"""Ways in which one question comes twice."""

CHOICES_THAT_SAY_THE_SAME = (
    ("a dog", "the dog", "a cat", "a cow"),
    ("A dog.", "a dog", "a cat", "a cow"),
    ("a barking dog", "barking dogs", "a mooing cow", "a crowing rooster"),
    ("a barking dog", "a dog barking", "a mooing cow", "a crowing rooster"),
    ("violin", "violins", "flute", "oboe"),
    ("two knocks", "2 knocks", "3 knocks", "5 knocks"),
    ("a hi-hat", "a hihat", "a snare", "a tom"),
    ("sea gull", "seagull", "crow", "owl"),
    ("a man and a woman", "a woman and a man", "two boys", "a choir"),
    ("rain", "Rain", "wind", "hail"),
    ("It is raining", "it is  raining!", "it is snowing", "it is hailing"),
    ("footsteps", "a footstep", "knocks", "claps"),
    ("the piano with drums", "drums with the piano", "a lone flute", "a string trio"),
    ("he laughs", "he laughed", "he cries", "he sings"),
    ("a car's horn", "a car’s horn", "a ship's horn", "a train's horn"),
    ("once", "1", "2", "3"),
)
CHOICES_WITHIN_CHOICES = (
    ("a dog", "a barking dog", "a cat", "a cow"),
    ("an electric guitar", "a guitar", "a flute", "a tuba"),
    ("a guitar", "a guitar and drums", "a flute", "a tuba"),
    ("a crying baby", "a baby", "an owl", "a siren"),
    ("rain", "heavy rain", "hail", "wind"),
    ("footsteps on gravel", "footsteps", "a rake", "a spade"),
    ("a door being slammed", "a door", "a drum", "a shot"),
    ("speech", "speech and laughter", "song", "silence"),
    ("a man speaking", "a man speaking angrily", "a woman singing", "a child crying"),
    ("train", "steam train", "lorry", "ferry"),
)
ANSWERS_THAT_STAND_OUT = (
    ("a dog", "cat", "cow", "horse"),
    ("Dog", "a cat", "a cow", "a horse"),
    ("the old church", "harbour", "market", "station"),
    ("Rain falls on a roof.", "Wind blows", "Hail falls", "Snow melts"),
    ("it rains", "It snows.", "It hails.", "It storms."),
    ("3 times", "rather often", "now and then", "all the time"),
    ("many times", "2 times", "4 times", "6 times"),
    ("dog", "A cat", "A cow", "A horse"),
)
CHOICES_THAT_DIFFER = (
    ("the first sound is higher", "the second sound is higher", "both have the same pitch"),
    ("a dog, then a bell", "a bell, then a dog", "a dog alone, then a siren", "a siren, then a bell"),
    ("it gets louder", "it gets softer", "it gets louder, then softer", "it stays the same"),
    ("speech", "no speech", "speech only at the end", "song"),
    ("C major", "C minor", "C# major", "G major"),
    ("F:7/1", "F#:7/1", "Bb:7/1", "C:7/1"),
    ("3/4", "4/4", "6/8", "2/4"),
    ("0.5 s", "1.5 s", "5 s", "15 s"),
    ("-3 dB", "3 dB", "6 dB", "-6 dB"),
    ("two knocks", "three knocks", "four knocks", "five knocks"),
    ("twenty", "twenty-three", "thirteen", "eighteen"),
    ("up, then down", "down, then up", "up", "down"),
    ("the man laughs and the woman cries", "the man cries", "the woman laughs", "both sing"),
    ("louder than before", "softer than before", "as loud as before", "silent"),
    ("from left to right", "from right to left", "in the middle", "on both sides"),
    ("狗叫", "猫叫", "牛叫", "鸟叫"),
    ("a gong", "a bell", "a chime", "a triangle"),
    ("1", "2", "3", "4", "5", "6", "7", "8", "9", "10"),
)
"""Clean choices that a coarse comparison would take for the same, or for one within another."""

QUESTIONS_THAT_SHARE_WORDS = (
    ("Which instrument plays the guitar solo?", ("an electric guitar", "a piano", "a flute", "a tuba")),
    ("What makes the bell sound?", ("a church bell", "a drum", "a horn", "a siren")),
    ("Where do the church bells ring?", ("in a church", "in a school", "in a harbour", "in a station")),
    ("What is the barking animal?", ("something that barks", "a cat", "a cow", "a hen")),
    ("What does the man do after he knocks?", ("he knocks again", "he leaves", "he sings", "he sleeps")),
    ("What drips from the tap?", ("drips of water", "sand", "oil", "gravel")),
    ("What sort of train passes?", ("a steam train", "a lorry", "a ferry", "a tram")),
    ("What kind of laughter is it?", ("a child's laughter", "crying", "singing", "a shout")),
    ("Which machine is used for sewing?", ("a sewing machine", "a printer", "a fan", "a mixer")),
    ("Where is the crowd cheering?", ("among a cheering crowd", "at home", "in the woods", "at sea")),
    ("What is being poured into the glass?", ("a glass being filled", "sand", "nails", "paper")),
    ("Who is singing in the choir?", ("singers", "drummers", "dogs", "bells")),
    ("What falls during the rainfall?", ("rainfall", "snow", "stones", "leaves")),
    ("What is ringing on the phone?", ("a phone ringing", "a dog", "a drill", "a saw")),
    ("Which of the drums is struck?", ("a snare drum", "a cymbal", "a triangle", "a gong")),
    ("What do the footsteps tell?", ("footsteps on snow", "a ride", "a flight", "a swim")),
    ("How does the whistle blow?", ("by a whistling man", "by hand", "by wind", "by steam")),
    ("What announces the announcer?", ("an announcement of trains", "a song", "a prayer", "a joke")),
    ("Was läutet in der Kirche?", ("eine Kirche mit Glocken", "ein Hund", "ein Auto", "ein Zug")),
    ("Quel piano joue ici ?", ("un piano droit", "une flûte", "un tambour", "une harpe")),
    ("Какой колокол звонит?", ("церковный колокол", "барабан", "гудок", "сирена")),
    ("这是什么狗叫？", ("狗叫", "猫咪", "牛群", "鸟儿")),
    ("What splashes in the water?", ("water", "gravel", "sand", "coal")),
)
QUESTIONS_THAT_SHARE_NONE = (
    ("Which comes first, the dog or the cat?", ("the dog", "the cat")),
    ("Which dog barks?", ("a small dog", "a large dog", "an old dog", "a hoarse dog")),
    ("Which of the sounds is the loudest?", ("the first sound", "the second sound", "the third sound")),
    ("What is heard in the recording?", ("a recording of rain", "a recording of wind", "a recording of hail")),
    ("How many knocks are there?", ("2 knocks", "3 knocks", "4 knocks", "5 knocks")),
    ("Which chord is in the key of D major?", ("D", "E", "F", "G")),
    ("What does the car do?", ("it brakes and stops", "it starts", "it idles", "it honks")),
    ("What is to be heard at the carpet shop?", ("a car", "a bell", "a dog", "a horn")),
    ("Is it a man or a woman who speaks?", ("a man", "a woman")),
    ("谁在说话？", ("男人", "女人", "孩子")),
)

SAME_ITEM = (
    lambda question, choices: (question, choices),
    lambda question, choices: (question.upper(), choices[::-1]),
    lambda question, choices: (question.replace("?", " ...?"), [f"{choice.capitalize()}." for choice in choices]),
    lambda question, choices: (question, [*choices[:3], "something else"]),
    lambda question, choices: (question, ["a tap that drips", *choices[1:]]),
    lambda question, choices: (f"Listen to the audio. {question}", choices),
    lambda question, choices: (f"{question} Choose one of the answers below.", choices),
    lambda question, choices: (question.replace("Which", "What").replace("What", "Which"), choices),
    lambda question, choices: (f"{question.rpartition(' ')[0]} here?", choices),
    lambda question, choices: (question, [*choices, "none of these"]),
)
"""Ways in which a test item comes into a set: (question, choices) → the same."""

SAME_MEANING = (
    (("Which animal makes the loud noise at the start?", "a dog"),
     ("What creature is responsible for the loud sound in the beginning?", "a dog")),
    (("How many times does the bell ring?", "three"), ("What is the number of bell strikes?", "3 times")),
    (("What is the mood of the music?", "sad"),
     ("How would you describe the emotion that the music conveys?", "sorrowful")),
    (("Which instrument plays the melody?", "a violin"), ("What instrument carries the tune?", "the violin")),
    (("Where was this most likely recorded?", "at a railway station"),
     ("In what kind of place was the audio captured?", "a train station")),
    (("What does the man do after the door slams?", "he laughs"),
     ("How does the man react once the door has been slammed?", "he laughs out loud")),
    (("What weather can be heard?", "heavy rain"), ("Which weather condition is audible?", "a downpour of rain")),
    (("Who is speaking?", "a woman"), ("Whose voice is it?", "a female speaker")),
    (("What kind of vehicle passes by?", "a motorcycle"), ("Which vehicle drives past?", "a motorbike")),
    (("What happens right before the crash?", "tyres screech"),
     ("Just ahead of the collision, which sound occurs?", "screeching tires")),
    (("Which sound is the loudest?", "a siren"), ("What makes the greatest noise in the recording?", "the siren")),
    (("How does the crowd respond to the speech?", "with applause"),
     ("What is the audience's reaction when the speaker is done?", "they applaud")),
    (("What tool is being used?", "a hammer"), ("Which implement is somebody working with?", "a hammer")),
    (("What language does the announcer speak?", "Spanish"),
     ("In which language is the announcement made?", "Spanish")),
    (("What genre does this piece belong to?", "jazz"), ("Which style of music is being played?", "jazz music")),
    (("How fast is the music?", "slow"), ("What is the tempo of the piece like?", "slow")),
    (("What surface do the footsteps fall on?", "gravel"), ("On which kind of ground does someone walk?", "gravel")),
    (("Why does the baby cry?", "it is hungry"), ("What is the reason for the infant's crying?", "hunger")),
    (("Which bird is singing?", "a blackbird"), ("What species of bird can be heard?", "a blackbird")),
    (("What is heard in the background?", "traffic"), ("Which noise lies behind everything else?", "road traffic")),
    (("How many people are talking?", "two"), ("What is the number of speakers?", "two people")),
    (("What appliance is running?", "a vacuum cleaner"),
     ("Which household machine has been switched on?", "a vacuum cleaner")),
    (("What game are they playing?", "table tennis"), ("Which sport is going on?", "ping-pong")),
    (("What is the woman singing about?", "lost love"), ("Which subject do her lyrics have?", "a love that was lost")),
    (("Which sea creature calls?", "a whale"), ("What kind of marine animal can be made out?", "a whale")),
    (("Is the room large or small?", "large"), ("How big is the space, to judge by the echo?", "it is a large one")),
    (("What is being cooked?", "eggs"), ("Which food is somebody frying?", "eggs")),
    (("Who applauds?", "the audience"), ("Which people are clapping their hands?", "the audience")),
    (("What is the last thing that is heard?", "a closing door"), ("With which sound does it end?", "a door closes")),
    (("How does the speaker sound?", "angry"), ("What emotion is in the voice?", "anger")),
    (("What is poured into the glass?", "water"), ("Which liquid fills the glass?", "water")),
    (("What kind of alarm goes off?", "a smoke detector"), ("Which warning device is triggered?", "a smoke alarm")),
    (("Which string instrument accompanies the singer?", "a guitar"),
     ("What does the vocalist's accompaniment consist of?", "an acoustic guitar")),
    (("What are the children doing?", "playing"), ("Which activity are the kids engaged in?", "they play")),
    (("How many shots are fired?", "four"), ("What is the count of gunshots?", "four shots")),
    (("When does the phone ring?", "at the end"), ("At what point is there a ringing phone?", "at the end")),
)  # fmt: skip
"""Two questions of one clip that ask the same in other words, with their answers."""
OTHER_MEANING = (
    (("Which sound comes first?", "a dog"), ("Which sound comes last?", "a siren")),
    (("Which sound comes first?", "a dog"), ("Which sound comes last?", "a cat")),
    (("How many dogs bark?", "two"), ("How many cats meow?", "two")),
    (("How many times does the bell ring?", "three"), ("How many times does the horn sound?", "three")),
    (("What happens before the bell rings?", "a door slams"), ("What happens after the bell rings?", "a door opens")),
    (("What is the mood of the music?", "sad"), ("What is the tempo of the music?", "slow")),
    (("Which instrument plays the melody?", "a violin"), ("Which instrument plays the bass line?", "a cello")),
    (("Who is speaking?", "a woman"), ("What is the speaker talking about?", "a journey")),
    (("Is the pitch rising or falling?", "rising"), ("Is the loudness rising or falling?", "rising")),
    (("What animal is heard?", "a dog"), ("What vehicle is heard?", "a car")),
    (("What is the loudest sound?", "thunder"), ("What is the quietest sound?", "thunder far away")),
    (("What animal is heard in the first half?", "a dog"), ("What animal is heard in the second half?", "a dog")),
    (("Where does the man go?", "to the market"), ("Where does the woman come from?", "from the market")),
    (("Which sound is on the left?", "a bell"), ("Which sound is on the right?", "a bell")),
    (("What is knocked over?", "a glass"), ("Who cleans it up?", "the waiter")),
    (("How long does the alarm last?", "ten seconds"), ("What sets off the alarm?", "smoke")),
    (("What breaks the silence?", "a cough"), ("How often is there silence?", "twice")),
    (("Does the train arrive or leave?", "it arrives"), ("What does the conductor announce?", "a delay")),
    (("Which drum is struck?", "the snare"), ("How is the drum struck?", "with brushes")),
    (("What does the child ask for?", "ice cream"), ("What does the mother answer?", "not before dinner")),
    (("Which room is it?", "a bathroom"), ("What gives away that it is a bathroom?", "the echo of tiles")),
    (("What starts the engine?", "a key"), ("When does the engine stop?", "after a minute")),
)  # fmt: skip
"""Two questions of one clip that ask different things, many of them in nearly the same words."""
