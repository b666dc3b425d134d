import TestSupport
import Testing

@testable import CheckpointIO

/// What a hostile file claims.
private struct Claims {
    var frames: [[UInt8]]
    var entries: [SeekTable.Entry]

    /// A sound file of a header and a tensor of 16 bytes.
    init() {
        let header = safetensorsFile(header: #"{"a":{"dtype":"U8","shape":[16],"data_offsets":[0,16]}}"#)
        let contents = [header, (0..<16).map { UInt8($0) }]
        frames = contents.map { zstdFrame($0) }
        entries = []
        for (frame, content) in zip(frames, contents) { entries.append(Self.entry(frame, content.count)) }
    }

    static func entry(_ frame: [UInt8], _ unpacked: Int) -> SeekTable.Entry {
        let checksum = frame.suffix(4).reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        return .init(packed: UInt32(frame.count), unpacked: UInt32(unpacked), checksum: checksum)
    }

    var file: [UInt8] { frames.flatMap(\.self) + SeekTable.bytes(entries) }
}

/// The sentence with which a file is refused, when it is opened or its tensor is read.
private func refusal(_ contents: [UInt8]) throws -> String {
    try withTemporaryFolder { folder in
        let path = folder + "/x.safetensors.zst"
        try writeFile(path, contents)
        let error = #expect(throws: CheckpointError.self) {
            let file = try Checkpoint.open(path)
            _ = try file.withBytes(of: file.requiredRecord("a")) { $0.count }
        }
        guard let error else { return "nothing" }
        #expect(error.exitStatus == .badData || error.exitStatus == .unsupported)
        return "\(error)"
    }
}

@Test func soundClaimsAreRead() throws {
    try withTemporaryFolder { folder in
        try writeFile(folder + "/x.safetensors.zst", Claims().file)
        let file = try Checkpoint.open(folder + "/x.safetensors.zst")
        #expect(try file.withBytes(of: file.requiredRecord("a")) { Array($0) } == (0..<16).map { UInt8($0) })
    }
}

@Test func frameThatHoldsMoreOrLessThanTheTableSaysIsRefused() throws {
    for size in [15, 17, 1 << 20] {
        var claims = Claims()
        claims.entries[1] = .init(
            packed: claims.entries[1].packed, unpacked: UInt32(size), checksum: claims.entries[1].checksum)
        // The stream's size no longer fits the header either; which of the two is said first does not matter.
        #expect(try refusal(claims.file).contains(".safetensors.zst: "))
    }
    var bomb = Claims()
    bomb.frames[1] = zstdFrame([UInt8](repeating: 0, count: 64 << 20))
    bomb.entries[1] = Claims.entry(bomb.frames[1], 16)
    #expect(try refusal(bomb.file).contains("cannot be unpacked to the 16 bytes"))
    var hollow = Claims()
    hollow.frames[1] = zstdFrame([1])
    hollow.entries[1] = Claims.entry(hollow.frames[1], 16)
    #expect(try refusal(hollow.file).contains("holds 1 bytes; the seek table says 16"))
}

@Test func tableThatDoesNotFitTheFileIsRefused() throws {
    var claims = Claims()
    let short = claims.entries[1]
    claims.entries[1] = .init(packed: short.packed - 1, unpacked: short.unpacked, checksum: short.checksum)
    #expect(try refusal(claims.file).contains("covers"))
    claims.entries[1] = .init(packed: short.packed + 1, unpacked: short.unpacked, checksum: short.checksum)
    #expect(try refusal(claims.file).contains("are left"))
    claims.entries[1] = .init(packed: .max, unpacked: .max, checksum: short.checksum)
    #expect(try refusal(claims.file).contains("are left"))
    claims = Claims()
    claims.entries += Array(repeating: .init(packed: 0, unpacked: 0, checksum: 0), count: 1000)
    #expect(try refusal(claims.file).contains("can hold"))
    var contents = Claims().file
    contents.replaceSubrange(contents.count - 9..<contents.count - 5, with: [0xFF, 0xFF, 0xFF, 0xFF])
    #expect(try refusal(contents).contains("names 4294967295 frames"))
    let nothing: [UInt8] = [0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0]
    let many = SeekTable.entryLimit + 1
    claims.frames = [[UInt8]](repeating: nothing, count: many)
    claims.entries = Array(repeating: .init(packed: 8, unpacked: 0, checksum: 0), count: many)
    #expect(try refusal(claims.file).contains("names 1048577 frames; more than 1048576 are not taken"))
    contents = Claims().file
    contents[contents.count - 5] |= 0x04
    #expect(try refusal(contents).contains("reserved bits"))
    contents = Claims().file
    contents[contents.count - 5] = 0
    #expect(try refusal(contents).contains("does not start where"))
}

@Test func largeFrameIsRefusedBeforeItIsUnpacked() throws {
    var claims = Claims()
    claims.entries[1] = .init(packed: claims.entries[1].packed, unpacked: .max, checksum: 0)
    #expect(try refusal(claims.file).contains("more than the 67108864 allowed"))
}

@Test func skippableOrDoubleFrameInATensorsPlaceIsRefused() throws {
    var claims = Claims()
    claims.frames[1] = [0x50, 0x2A, 0x4D, 0x18, 16, 0, 0, 0] + [UInt8](repeating: 1, count: 16)
    claims.entries[1] = Claims.entry(claims.frames[1], 16)
    #expect(try refusal(claims.file).contains("frame 1"))
    claims = Claims()
    claims.frames[1] = zstdFrame([1, 2, 3]) + zstdFrame([UInt8](repeating: 4, count: 13))
    claims.entries[1] = Claims.entry(claims.frames[1], 16)
    #expect(try refusal(claims.file).contains("the seek table says"))
}

@Test func frameThatNeedsADictionaryIsRefused() throws {
    // RFC 8878: magic, descriptor with a one-byte dictionary ID (1) and single segment, ID 7, content size 16, a raw
    // last block of 16 bytes.
    let frame: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0x21, 7, 16, 0x81, 0, 0] + [UInt8](repeating: 9, count: 16)
    var claims = Claims()
    claims.frames[1] = frame
    claims.entries[1] = Claims.entry(frame, 16)
    #expect(try refusal(claims.file).contains("needs a dictionary"))
}

@Test func hugeWindowCostsNothing() throws {
    // Magic, a descriptor with no content size, a window of 2^41 bytes, an RLE last block of 16 bytes.
    let frame: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xF8, 0x83, 0, 0, 5]
    var claims = Claims()
    claims.frames[1] = frame
    claims.entries[1] = Claims.entry(frame, 16)
    // libzstd refuses it or not, depending on its limits; either way nothing of that size is asked for.
    try withTemporaryFolder { folder in
        try writeFile(folder + "/x.safetensors.zst", claims.file)
        let file = try Checkpoint.open(folder + "/x.safetensors.zst")
        let found = try? file.withBytes(of: file.requiredRecord("a")) { Array($0) }
        #expect(found == nil || found == [UInt8](repeating: 5, count: 16))
    }
    // As a plain stream it would need its window.
    #expect(try refusal(frame).contains("is not sound Zstandard data"))
}

@Test func wrongChecksumIsRefused() throws {
    var claims = Claims()
    claims.entries[1] = .init(packed: claims.entries[1].packed, unpacked: 16, checksum: 1)
    #expect(try refusal(claims.file).contains("has another checksum than the seek table says"))
    claims = Claims()
    claims.frames[1][claims.frames[1].count - 1] ^= 1
    claims.entries[1] = Claims.entry(claims.frames[1], 16)
    #expect(try refusal(claims.file).contains("cannot be unpacked"))
}

@Test func bombBehindASoundTableStopsAtItsHeader() throws {
    // 60 frames that say, and hold, 64 MiB of zeros each: the header is looked for in the first.
    let frame = zstdFrame([UInt8](repeating: 0, count: 64 << 20))
    var claims = Claims()
    claims.frames = Array(repeating: frame, count: 60)
    claims.entries = Array(repeating: Claims.entry(frame, 64 << 20), count: 60)
    #expect(try refusal(claims.file).contains("header"))
    // Without a table it is never unpacked beyond the limit.
    #expect(try refusal(claims.frames.flatMap(\.self)).contains("seek table"))
}

@Test func streamOfAnOlderFormatIsRefused() throws {
    // Magic of version 0.7.
    #expect(try refusal([0x27, 0xB5, 0x2F, 0xFD, 0, 0, 0, 0, 0, 0]).contains("x.safetensors.zst"))
    #expect(try refusal(Zstd.compress([1]) + [0x27, 0xB5, 0x2F, 0xFD, 0, 0, 0, 0]).contains("no Zstandard frame"))
}

/// A frame as our writer makes it.
private func zstdFrame(_ content: [UInt8]) -> [UInt8] {
    content.withUnsafeBytes { FramePacker(level: Int32(SeekableZstdWriter.defaultLevel)).frame($0) }
}
