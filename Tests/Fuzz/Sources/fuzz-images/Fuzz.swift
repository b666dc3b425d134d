import CheckpointIO
import FuzzSupport
import Images

/// Pixels that are decoded: what a second is enough for under the sanitizer.
private let pixelLimit = 1 << 18

/// The bytes as a picture's file, decoded and prepared in three ways; or, where they begin as JSON does, as the settings of
/// how pictures are prepared.
@main
enum Fuzz {
    static func main() {
        fuzz { start, count in
            let bytes = UnsafeRawBufferPointer(start: start, count: count)
            reading {
                if bytes.first == UInt8(ascii: "{") {
                    guard let json = try? JSONValue.parse(bytes) else { return }
                    let settings = try ImagePreprocessor(json, file: "input")
                    precondition(settings.outputSize != nil, "settings without a size")
                } else {
                    try prepare(RGBImage(decoding: bytes, file: "input", pixelLimit: pixelLimit))
                }
            }
            return 0
        }
    }
}

private func prepare(_ image: RGBImage) throws {
    precondition(image.pixels.count == 3 * image.width * image.height && image.width <= pixelLimit / image.height)
    for settings in [#"{"size": 16, "crop_size": 16}"#, #"{"size": 9, "crop_size": {"height": 20, "width": 5}}"#] {
        let preprocessor = try ImagePreprocessor(JSONValue.parse(settings), file: "settings")
        let size = preprocessor.outputSize ?? (0, 0)
        precondition(preprocessor.values(of: image).count == 3 * size.height * size.width, "another size")
    }
    guard max(image.width, image.height) <= 512 else { return }
    let padded = #"{"image_processor_type": "LlavaImageProcessor", "do_pad": true, "size": 8, "crop_size": 8}"#
    let values = try ImagePreprocessor(JSONValue.parse(padded), file: "settings").values(of: image)
    precondition(values.allSatisfy(\.isFinite), "a value that is no number")
}
