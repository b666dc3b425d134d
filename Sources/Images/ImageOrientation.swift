/// How a camera was held, so that its picture must be turned to stand upright (Exif 2.3, section 4.6.4, tag 274).
package enum ImageOrientation: Int, Sendable {
    case upright = 1
    case mirrored
    case upsideDown
    case mirroredUpsideDown
    case transposed
    case turnedLeft
    case transposedOther
    case turnedRight

    /// Whether rows become columns.
    var swapsSides: Bool { rawValue >= ImageOrientation.transposed.rawValue }

    /// What a picture's file says, in its Exif data or else in its XMP, as Pillow's `exif_transpose` takes it; upright where
    /// it says nothing, or nothing that is known.
    init(of bytes: ImageBytes, _ format: ImageFormat) {
        var exif: Int?
        var xmp: Int?
        bytes.forEachPart(format) { part in
            let content = bytes.part(part.range)
            switch (format, part.name) {
            case (.jpeg, 0xE1):
                if content.has(Self.exifMark, at: 0) { exif = exif ?? Self.inExif(content) }
                if content.has(Self.xmpMark, at: 0) { xmp = xmp ?? Self.inXMP(content) }
            case (.png, ImagePart.name("eXIf")), (.webp, ImagePart.name("EXIF")): exif = exif ?? Self.inExif(content)
            case (.png, ImagePart.name("iTXt")):
                if content.has(Self.pngXMPMark, at: 0) { xmp = xmp ?? Self.inXMP(content) }
            case (.webp, ImagePart.name("XMP ")): xmp = xmp ?? Self.inXMP(content)
            default: break
            }
            return true
        }
        self = (exif ?? xmp).flatMap(ImageOrientation.init(rawValue:)) ?? .upright
    }

    private static let exifMark = Array("Exif\0\0".utf8)
    private static let xmpMark = Array("http://ns.adobe.com/xap/1.0/\0".utf8)
    private static let pngXMPMark = Array("XML:com.adobe.xmp\0\0".utf8)

    /// The tag in the first directory of Exif data, which are a small TIFF; nil where it is not there.
    private static func inExif(_ content: ImageBytes) -> Int? {
        let start = content.has(exifMark, at: 0) ? exifMark.count : 0
        let isBigEndian: Bool
        if content.has("II", at: start) {
            isBigEndian = false
        } else if content.has("MM", at: start) {
            isBigEndian = true
        } else {
            return nil
        }
        func integer(_ place: Int, _ size: Int) -> Int? {
            content.integer(at: start + place, size: size, isBigEndian: isBigEndian)
        }
        guard let directory = integer(4, 4), let count = integer(directory, 2) else { return nil }
        for entry in 0..<count {
            let place = directory + 2 + 12 * entry
            guard let tag = integer(place, 2), let type = integer(place + 2, 2) else { return nil }
            guard tag == 0x0112 else { continue }
            // Bytes, shorts and longs, of which one stands in the entry itself.
            return [1: 1, 3: 2, 4: 4][type].flatMap { integer(place + 8, $0) }
        }
        return nil
    }

    /// The digit behind the first `tiff:Orientation="` or `tiff:Orientation>`.
    private static func inXMP(_ content: ImageBytes) -> Int? {
        let name = Array("tiff:Orientation".utf8)
        guard content.count > name.count else { return nil }
        for place in 0..<content.count - name.count where content.has(name, at: place) {
            let end = place + name.count
            let digit = content.has("=\"", at: end) ? end + 2 : content.has(">", at: end) ? end + 1 : nil
            if let digit, let byte = content[digit], (0x30...0x39).contains(byte) { return Int(byte) - 0x30 }
        }
        return nil
    }
}

extension RGBImage {
    /// The picture upright, of one that was stored as `orientation` says.
    func turned(_ orientation: ImageOrientation) -> RGBImage {
        guard orientation != .upright else { return self }
        let (w, h) = (width, height)
        let (newWidth, newHeight) = orientation.swapsSides ? (h, w) : (w, h)
        let turned = pixels.withUnsafeBufferPointer { source in
            [UInt8](unsafeUninitializedCapacity: pixels.count) { target, count in
                for y in 0..<newHeight {
                    for x in 0..<newWidth {
                        let (fromX, fromY) =
                            switch orientation {
                            case .upright: (x, y)
                            case .mirrored: (w - 1 - x, y)
                            case .upsideDown: (w - 1 - x, h - 1 - y)
                            case .mirroredUpsideDown: (x, h - 1 - y)
                            case .transposed: (y, x)
                            case .turnedLeft: (y, h - 1 - x)
                            case .transposedOther: (w - 1 - y, h - 1 - x)
                            case .turnedRight: (w - 1 - y, x)
                            }
                        let (from, to) = (3 * (fromY * w + fromX), 3 * (y * newWidth + x))
                        for part in 0..<3 { target[to + part] = source[from + part] }
                    }
                }
                count = source.count
            }
        }
        return RGBImage(width: newWidth, height: newHeight, pixels: turned)
    }
}
