/// The kinds of pictures that are decoded.
package enum ImageFormat: String, Sendable, CaseIterable {
    case jpeg = "JPEG"
    case png = "PNG"
    case webp = "WebP"

    /// The kind of a file by its first bytes; nil where it is none of these.
    init?(_ bytes: ImageBytes) {
        if bytes.has([0xFF, 0xD8, 0xFF], at: 0) {
            self = .jpeg
        } else if bytes.has(Self.pngSignature, at: 0) {
            self = .png
        } else if bytes.has("RIFF", at: 0), bytes.has("WEBP", at: 8) {
            self = .webp
        } else {
            return nil
        }
    }

    /// What a PNG file begins with (PNG specification, section 5.2).
    static let pngSignature: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
}

/// Files that people have where a picture is wanted, told by their first bytes.
enum OtherImageFormat {
    /// Names by what stands at a place of the file.
    private static let kinds: [(name: String, place: Int, mark: [UInt8])] = [
        ("a GIF", 0, Array("GIF8".utf8)), ("a BMP picture", 0, Array("BM".utf8)),
        ("a TIFF picture", 0, [0x49, 0x49, 0x2A, 0x00]), ("a TIFF picture", 0, [0x4D, 0x4D, 0x00, 0x2A]),
        ("a TIFF picture", 0, [0x49, 0x49, 0x2B, 0x00]), ("a TIFF picture", 0, [0x4D, 0x4D, 0x00, 0x2B]),
        ("an AVIF picture", 4, Array("ftypavi".utf8)), ("a HEIC picture", 4, Array("ftyphei".utf8)),
        ("a HEIC picture", 4, Array("ftyphev".utf8)), ("a HEIF picture", 4, Array("ftypmif1".utf8)),
        ("a HEIF picture", 4, Array("ftypmsf1".utf8)), ("a JPEG XL picture", 0, [0xFF, 0x0A]),
        ("a JPEG XL picture", 4, Array("JXL ".utf8)), ("a JPEG 2000 picture", 4, Array("jP  ".utf8)),
        ("a JPEG 2000 picture", 0, [0xFF, 0x4F, 0xFF, 0x51]), ("a Photoshop document", 0, Array("8BPS".utf8)),
        ("an icon", 0, [0x00, 0x00, 0x01, 0x00]), ("a Netpbm picture", 0, Array("P6".utf8)),
        ("a Netpbm picture", 0, Array("P5".utf8)), ("an SVG drawing", 0, Array("<svg".utf8)),
        ("a PDF document", 0, Array("%PDF".utf8)), ("a web page", 0, Array("<!DOCTYPE html".utf8)),
        ("a web page", 0, Array("<!doctype html".utf8)), ("a web page", 0, Array("<html".utf8)),
        ("an XML document", 0, Array("<?xml".utf8)), ("an MP4 video", 4, Array("ftyp".utf8)),
        ("a WebM video", 0, [0x1A, 0x45, 0xDF, 0xA3]),
    ]

    /// What the file is, such as `a GIF`; nil where that is not known.
    static func name(of bytes: ImageBytes) -> String? {
        kinds.first { bytes.has($0.mark, at: $0.place) }?.name
    }
}
