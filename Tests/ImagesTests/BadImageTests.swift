import CheckpointIO
import Images
import TensorCore
import TestSupport
import Testing

/// What decoding bytes as the file `picture` throws; nil where they are a picture.
private func problem(_ bytes: [UInt8]) -> ImageError? {
    do {
        _ = try bytes.withUnsafeBytes { try RGBImage(decoding: $0, file: "picture") }
        return nil
    } catch {
        return error as? ImageError
    }
}

private func big(_ number: Int) -> [UInt8] { [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: number >> $0) } }
private func little(_ number: Int, _ count: Int = 4) -> [UInt8] { Array(big(number).reversed().prefix(count)) }

/// A PNG's beginning up to its header.
private func pngHeader(_ width: Int, _ height: Int) -> [UInt8] {
    [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A] + big(13) + Array("IHDR".utf8) + big(width) + big(height)
        + [8, 2, 0, 0, 0] + big(0)
}

/// A WebP's beginning with an extended header.
private func webpHeader(_ width: Int, _ height: Int, flags: UInt8 = 0) -> [UInt8] {
    Array("RIFF".utf8) + little(22) + Array("WEBPVP8X".utf8) + little(10) + [flags, 0, 0, 0] + little(width - 1, 3)
        + little(height - 1, 3)
}

@Suite struct BadImageTests {
    private static let pictures = [
        "colour.jpg", "progressive.jpg", "cmyk.jpg", "interlaced.png", "grey16.png", "palette16.png",
        "colour.webp", "lossless.webp", "alpha.webp",
    ]

    @Test(arguments: pictures)
    func aPictureThatEndsEarlyIsRefused(_ name: String) throws {
        let bytes = try readFile(fixture("images/" + name))
        for count in 0..<bytes.count - 1 {
            let found = problem(Array(bytes.prefix(count)))
            #expect(found != nil, "\(name) without its last \(bytes.count - count) bytes")
        }
        let half = Array(bytes.prefix(bytes.count / 2))
        let format = ImageFormat.allCases.first { name.hasSuffix($0 == .jpeg ? "jpg" : $0.rawValue.lowercased()) }
        #expect(problem(half) == .truncated(file: "picture", format: try #require(format)))
        #expect(problem(half)!.description.hasSuffix("picture that ends early; fetch or save it again"))
    }

    @Test(arguments: pictures)
    func aChangedByteIsDecodedOrRefused(_ name: String) throws {
        let bytes = try readFile(fixture("images/" + name))
        var random = RandomStream(seed: 5)
        for _ in 0..<300 {
            var changed = bytes
            for _ in 0..<3 {
                changed[Int(random.nextBits() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.nextBits())
            }
            _ = problem(changed)
        }
    }

    @Test func sizesBeyondTheLimitAreRefusedByTheHeader() throws {
        let bombs = [
            pngHeader(100_000, 100_000), webpHeader(100_000, 100_000), pngHeader(0x7FFF_FFFF, 0x7FFF_FFFF),
            [0xFF, 0xD8, 0xFF, 0xC0, 0, 17, 8, 0xFF, 0xFF, 0xFF, 0xFF, 3] + [UInt8](repeating: 0, count: 20),
        ]
        for bomb in bombs {
            guard case .tooLarge? = problem(bomb) else {
                Issue.record("\(String(describing: problem(bomb)))")
                continue
            }
        }
        #expect(
            problem(bombs[0])?.description
                == "picture: says that it has 100000 x 100000 pixels; at most 67108864 are decoded, so make it smaller")
        // The size is in bounds, so that the decoder looks at it.
        let badHeader = ImageError.damaged(file: "picture", format: .png, problem: "IHDR: CRC error")
        #expect(problem(pngHeader(8000, 8000)) == badHeader)
        #expect(problem(pngHeader(0, 5)) == .damaged(file: "picture", format: .png, problem: "it has no pixels"))
    }

    @Test func aSquareBeyondTheLimitIsRefusedByTheHeader() throws {
        var settings = ImagePreprocessor()
        settings.paddingColor = [0, 0, 0]
        try withTemporaryFolder { folder in
            try writeFile(folder + "/long.png", pngHeader(60_000, 1))
            #expect(
                throws: ImageError.tooLarge(file: folder + "/long.png", width: 60_000, height: 60_000, limit: 1 << 26)
            ) {
                try settings.check(folder + "/long.png")
            }
            settings.paddingColor = nil
            try settings.check(folder + "/long.png")
        }
    }

    @Test func filesThatAreNoPicturesAreNamed() throws {
        let kinds: [(bytes: [UInt8], words: String)] = [
            (Array("GIF89a".utf8), "is a GIF; pictures are JPEG, PNG or WebP, so make one of these of it"),
            (Array("BM".utf8) + little(90), "is a BMP picture"),
            ([0x49, 0x49, 0x2A, 0x00, 8, 0, 0, 0], "is a TIFF picture"),
            (big(28) + Array("ftypavif".utf8), "is an AVIF picture"),
            (big(28) + Array("ftypheic".utf8), "is a HEIC picture"),
            (Array("<!DOCTYPE html><html>".utf8), "is a web page"),
            (Array("hello".utf8), "begins as no picture does"), ([], "is empty"),
            (webpHeader(5, 5, flags: 2), "is an animated WebP; save the frame that is meant as a picture of its own"),
            (
                pngHeader(5, 5) + big(8) + Array("acTL".utf8) + big(2) + big(0) + big(0),
                "is an animated PNG"
            ),
        ]
        for kind in kinds {
            let words = problem(kind.bytes)?.description ?? "nothing"
            #expect(words.hasPrefix("picture: " + kind.words), "\(words)")
        }
    }

    @Test func filesThatCannotBeOpenedAreNamed() throws {
        #expect(throws: ImageError.file(.missing(path: "/nowhere/cat.jpg"))) { try RGBImage.load("/nowhere/cat.jpg") }
        try withTemporaryFolder { folder in
            #expect(throws: ImageError.file(.notRegularFile(path: folder))) { try ImageHeader.read(folder) }
            return
        }
    }

    @Test func aHeaderSaysFormatAndSize() throws {
        for (name, format, width, height) in [
            ("colour.jpg", ImageFormat.jpeg, 37, 23), ("named.png", .jpeg, 13, 9), ("exif6.jpg", .jpeg, 13, 9),
            ("interlaced.png", .png, 37, 23), ("colour.webp", .webp, 37, 23), ("lossless.webp", .webp, 37, 23),
            ("alpha.webp", .webp, 37, 23),
        ] {
            let header = try ImageHeader.read(fixture("images/" + name))
            #expect(header.format == format && header.width == width && header.height == height, "\(name)")
        }
    }
}
