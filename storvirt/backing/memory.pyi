from storvirt.backing.member import Member

class MemoryMember(Member):
    def __init__(self, size: int, name: str = "memory") -> None: ...
