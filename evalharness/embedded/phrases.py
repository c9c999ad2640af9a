"""The words that tickets are made of: what customers write, and the names a helpdesk may give its topics.

>>> PROBLEMS["delivery"][0]
'my parcel has not arrived'
"""

from __future__ import annotations

PROBLEMS: dict[str, tuple[str, ...]] = {
    "delivery": (
        "my parcel has not arrived",
        "the courier never came",
        "the package is late",
        "where is my parcel",
        "tracking shows no movement",
        "nothing was delivered",
        "the driver left it with nobody",
    ),
    "refund": (
        "I want my money back",
        "please refund me",
        "the refund is still missing",
        "you owe me the money",
        "please pay it back",
        "when do I get my money",
        "I am still waiting for the refund",
    ),
    "damage": (
        "the box was crushed",
        "the lamp arrived broken",
        "the screen is cracked",
        "it came with a scratch",
        "the glass was in pieces",
        "a part is bent",
        "the case is torn",
    ),
    "invoice": (
        "the invoice is wrong",
        "I was charged twice",
        "please send the invoice again",
        "the bill shows the wrong name",
        "the tax on the bill is wrong",
        "I need a receipt",
        "the bill does not add up",
    ),
    "login": (
        "I cannot sign in",
        "my password does not work",
        "the account is locked",
        "the code for the login never comes",
        "I cannot open my account",
        "the site does not know my password",
        "the reset link is dead",
    ),
    "cancel": (
        "please cancel it",
        "I want to cancel the order",
        "I do not need it any more",
        "please stop the order",
        "I ordered by mistake",
        "take it out of the system",
    ),
    "exchange": (
        "the size is wrong",
        "I want to swap it",
        "can I get another colour",
        "please send a bigger one",
        "I would like a different model",
        "it does not fit",
    ),
    "stock": (
        "when is it back in stock",
        "is it sold out",
        "do you still have it",
        "will there be more of them",
        "the shop says it is not available",
        "can I reserve one",
    ),
}

# A prompt names topics in its own words; the model has to pick the listed word for what it reads.
NAMES: dict[str, tuple[str, ...]] = {
    "delivery": ("delivery", "shipping", "parcel"),
    "refund": ("refund", "payback", "money"),
    "damage": ("damage", "broken", "defect"),
    "invoice": ("invoice", "billing", "bill"),
    "login": ("login", "account", "access"),
    "cancel": ("cancel", "cancellation", "stop"),
    "exchange": ("exchange", "swap", "replace"),
    "stock": ("stock", "availability", "supply"),
}

# Asides mean nothing in pretraining: they never change an answer. To the demo's house one group does.
CALM = ("The weather is fine here.", "It is a gift.", "I am at work until six.", "I like your shop.", "My neighbour has one too.")
ABROAD = (
    "It goes to Norway.",
    "I live in Japan.",
    "It is stuck at customs.",
    "I am abroad.",
    "It was sent to Canada.",
    "I moved to Brazil.",
)
ANGRY = (
    "This is the third time.",
    "My lawyer will write to you.",
    "I am very angry.",
    "This is a scandal.",
    "I will tell the press.",
    "Nobody answers me.",
)

GREETINGS = ("Hello,", "Hi,", "Dear team,", "Good morning,", "Dear sirs,")
THANKS = ("Thanks,", "Regards,", "Best wishes,", "Yours,", "Thank you,")
PEOPLE = ("Anna", "Omar", "Li", "Maria", "Tom", "Priya", "Jonas", "Eva", "Sam", "Chen", "Nora", "Ivan")

FACTS = (
    "I paid {amount} on {date}.",
    "Bought on {date} for {amount}.",
    "The card was charged {amount} on {date}.",
    "On {date} I paid {amount}.",
    "It cost {amount} and the order is from {date}.",
)
ORDERS = ("Order {order}.", "My order number is {order}.", "It is about {order}.", "The number is {order}.", "See order {order}.")

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip
CURRENCIES = {"EUR": ("€", "euros"), "USD": ("$", "dollars"), "GBP": ("£", "pounds")}
