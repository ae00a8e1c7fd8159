# A boot sector for a machine with an NE2000 (PCI, device 5, as v86 has it): sends one frame, then every frame that comes
# back to where it came from. Real mode, no BIOS calls; assembled by `as`, 512 bytes.
        .code16
        .equ CMD, 0
        .equ BNRY, 3
        .equ TPSR, 4
        .equ TBCR, 5
        .equ ISR, 7
        .equ RSAR, 8
        .equ RBCR, 10
        .equ DATA, 16
        .equ FIRST, 0x46        # receive ring: pages of 256 bytes; page 0x40: what is sent
        .equ BUFFER, 0x8000

        .globl _start
_start: cli
        cld
        xor %ax, %ax
        mov %ax, %ds
        mov %ax, %es
        mov %ax, %ss
        mov $0x7c00, %sp
        mov $0x80002804, %eax   # PCI configuration, device 5: command
        mov $0xcf8, %dx
        out %eax, %dx
        mov $0xcfc, %dx
        mov $7, %ax
        out %ax, %dx
        mov $0x80002810, %eax   # BAR 0: where its ports are
        mov $0xcf8, %dx
        out %eax, %dx
        mov $0xcfc, %dx
        in %dx, %eax
        and $0xfffc, %ax
        mov %ax, %bx

        mov $setup, %si         # pairs of register and value, to 0xff
1:      lodsb
        cmp $0xff, %al
        je 2f
        mov %al, %cl
        lodsb
        call put
        jmp 1b
2:      mov $hello, %si
        mov $60, %bp
        call send
        movb $FIRST + 1, page

wait:   mov $CMD, %cl           # the page that comes next is in CURR, on register page 1
        mov $0x62, %al
        call put
        mov $7, %cl
        call get
        mov %al, %ah
        mov $CMD, %cl
        mov $0x22, %al
        call put
        cmp %ah, page
        je wait
        mov page, %ah           # 4 bytes of the card's own: status, next page, length
        xor %al, %al
        mov $4, %bp
        call fetch
        mov BUFFER + 1, %al
        mov %al, next
        mov BUFFER + 2, %bp
        sub $4, %bp
        mov page, %ah
        mov $4, %al
        call fetch
        mov $BUFFER, %si        # the two addresses change places
        mov $3, %cx
1:      lodsw
        xchg %ax, 4(%si)
        mov %ax, -2(%si)
        loop 1b
        mov $BUFFER, %si
        call send
        mov next, %al
        mov %al, page
        dec %al
        mov $BNRY, %cl
        call put
        jmp wait

# register CL of the card
put:    mov %bx, %dx
        xor %ch, %ch
        add %cx, %dx
        out %al, %dx
        ret
get:    mov %bx, %dx
        xor %ch, %ch
        add %cx, %dx
        in %dx, %al
        ret

# the card's memory at AX, BP bytes; command in DI's low byte
address: push %ax
        mov $RSAR, %cl
        call put
        pop %ax
        mov %ah, %al
        mov $RSAR + 1, %cl
        call put
        mov %bp, %ax
        mov $RBCR, %cl
        call put
        mov %bp, %ax
        mov %ah, %al
        mov $RBCR + 1, %cl
        jmp put

fetch:  call address            # -> BUFFER
        mov $0x0a, %al
        mov $CMD, %cl
        call put
        mov $BUFFER, %di
        mov %bx, %dx
        add $DATA, %dx
        mov %bp, %cx
        rep insb
        ret

send:   mov $0x4000, %ax        # BP bytes at SI
        call address
        mov $0x12, %al
        mov $CMD, %cl
        call put
        mov %bx, %dx
        add $DATA, %dx
        mov %bp, %cx
        rep outsb
        mov $0x40, %al
        mov $TPSR, %cl
        call put
        mov %bp, %ax
        mov $TBCR, %cl
        call put
        mov %bp, %ax
        mov %ah, %al
        mov $TBCR + 1, %cl
        call put
        mov $0x26, %al
        mov $CMD, %cl
        jmp put

setup:  .byte CMD, 0x21, 14, 0x48, 10, 0, 11, 0, 12, 0x1c, 13, 0
        .byte 1, FIRST, BNRY, FIRST, 2, 0x80, ISR, 0xff, 15, 0
        .byte CMD, 0x61, 7, FIRST + 1, CMD, 0x22, 0xff
hello:  .byte 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0x86, 0x88, 0xb5
        .ascii "v86 is here"
        .skip 60 - 14 - 11
page:   .byte 0
next:   .byte 0
        .org 510
        .word 0xaa55
