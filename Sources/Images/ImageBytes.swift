/// The bytes of a picture's file, of which each may be anything: whatever lies beyond them is nil.
struct ImageBytes {
    /// The bytes; they live as long as the call that lends them.
    let bytes: UnsafeRawBufferPointer

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// How many there are.
    var count: Int { bytes.count }

    /// One byte.
    subscript(_ place: Int) -> UInt8? { place >= 0 && place < bytes.count ? bytes[place] : nil }

    /// Whether `mark` stands at `place`.
    func has(_ mark: [UInt8], at place: Int) -> Bool {
        guard place >= 0, place <= bytes.count - mark.count else { return false }
        return bytes[place..<place + mark.count].elementsEqual(mark)
    }

    /// Whether the text `mark` stands at `place`.
    func has(_ mark: String, at place: Int) -> Bool { has(Array(mark.utf8), at: place) }

    /// An integer of `size` bytes, at most four.
    func integer(at place: Int, size: Int, isBigEndian: Bool) -> Int? {
        guard place >= 0, place <= bytes.count - size else { return nil }
        let part = bytes[place..<place + size]
        return isBigEndian
            ? part.reduce(0) { $0 << 8 | Int($1) } : part.reversed().reduce(0) { $0 << 8 | Int($1) }
    }

    /// The bytes of a range that lies within.
    func part(_ range: Range<Int>) -> ImageBytes { ImageBytes(UnsafeRawBufferPointer(rebasing: bytes[range])) }
}

/// A part of a picture's file that says what it is: a segment of a JPEG, a chunk of a PNG or WebP.
struct ImagePart {
    /// A JPEG's marker as one byte, a chunk's name as four.
    let name: Int
    /// Where its content lies.
    let range: Range<Int>

    /// The number that stands for a chunk's name.
    static func name(_ text: String) -> Int { text.utf8.reduce(0) { $0 << 8 | Int($1) } }
}

extension ImageBytes {
    /// The parts of a file in order, until `body` returns false, the file ends or the rules of its format do; true where
    /// `body` ended it.
    @discardableResult
    func forEachPart(_ format: ImageFormat, _ body: (ImagePart) -> Bool) -> Bool {
        switch format {
        case .jpeg: forEachSegment(body)
        case .png: forEachChunk(from: ImageFormat.pngSignature.count, isBigEndian: true, lengthFirst: true, body)
        case .webp: forEachChunk(from: 12, isBigEndian: false, lengthFirst: false, body)
        }
    }

    /// The segments of a JPEG up to the first scan, with it (ITU-T T.81, B.1.1.4).
    private func forEachSegment(_ body: (ImagePart) -> Bool) -> Bool {
        var place = 2
        while place < count {
            // Bytes before a marker, and more than one FF, are passed over, as libjpeg does.
            guard self[place] == 0xFF, let marker = self[place + 1], marker != 0xFF, marker != 0 else {
                place += 1
                continue
            }
            place += 2
            if Self.standalone.contains(marker) { continue }
            guard let length = integer(at: place, size: 2, isBigEndian: true), length >= 2, place + length <= count
            else { return false }
            if !body(ImagePart(name: Int(marker), range: place + 2..<place + length)) { return true }
            if marker == Self.startOfScan { return false }
            place += length
        }
        return false
    }

    /// The marker of a scan's header.
    static let startOfScan: UInt8 = 0xDA
    /// Markers without a segment: TEM, restarts, the picture's start and end.
    private static let standalone: Set<UInt8> = Set(0xD0...0xD9).union([0x01])

    private func forEachChunk(
        from start: Int, isBigEndian: Bool, lengthFirst: Bool, _ body: (ImagePart) -> Bool
    ) -> Bool {
        var place = start
        while let length = integer(at: place + (lengthFirst ? 0 : 4), size: 4, isBigEndian: isBigEndian),
            let name = integer(at: place + (lengthFirst ? 4 : 0), size: 4, isBigEndian: true)
        {
            let content = place + 8
            guard length <= count - content else { return false }
            if !body(ImagePart(name: name, range: content..<content + length)) { return true }
            // Behind a PNG's chunk stands its checksum, behind a WebP's a byte that makes its length even.
            place = content + length + (lengthFirst ? 4 : length & 1)
        }
        return false
    }
}
