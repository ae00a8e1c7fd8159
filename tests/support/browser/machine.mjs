// A v86 machine in Node.js, as in a page: node machine.mjs NODE_MODULES BOOT-SECTOR RELAY-URL
// Boots with Debian's SeaBIOS. Ends with its standard input.
import fs from "node:fs"
import { createRequire } from "node:module"

const [modules, sector, relay] = process.argv.slice(2)
const require = createRequire(`${modules}/x.js`)
globalThis.WebSocket = require("ws").WebSocket
const { V86 } = require("v86")

const bytes = path => Uint8Array.from(fs.readFileSync(path)).buffer
const floppy = new Uint8Array(1440 * 1024)
floppy.set(fs.readFileSync(sector))
new V86({
    wasm_path: `${modules}/v86/build/v86.wasm`,
    bios: { buffer: bytes("/usr/share/seabios/bios.bin") },
    vga_bios: { buffer: bytes("/usr/share/seabios/vgabios-stdvga.bin") },
    fda: { buffer: floppy.buffer },
    boot_order: 0x321,
    memory_size: 16 << 20,
    vga_memory_size: 2 << 20,
    disable_keyboard: true,
    disable_mouse: true,
    disable_speaker: true,
    net_device: { type: "ne2k", relay_url: relay },
    autostart: true,
})
process.stdin.on("end", () => process.exit(0)).resume()
