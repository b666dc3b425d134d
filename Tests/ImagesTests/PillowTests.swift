import CheckpointIO
import Images
import TensorCore
import TestSupport
import Testing

/// What Pillow and transformers made of the pictures in Fixtures/images (Tests/Scripts/make_image_fixtures.py).
private struct PillowResults {
    let file: SafetensorsFile

    init() throws { file = try SafetensorsFile.open(fixture("images/expected.safetensors")) }

    var pictures: [String] { file.tensors.map(\.name).filter { !$0.contains(":") } }

    /// A picture [height, width, 3].
    func image(_ name: String) throws -> RGBImage {
        let record = try file.requiredRecord(name)
        return RGBImage(
            width: record.shape[1], height: record.shape[0], pixels: try file.withBytes(of: record) { Array($0) })
    }

    func floats(_ name: String) throws -> [Float] { try file.floats(of: file.requiredRecord(name)) }
}

private func load(_ name: String) throws -> RGBImage { try RGBImage.load(fixture("images/\(name)")) }

/// Settings without rescaling and normalisation.
private func plain(
    _ resizing: ImagePreprocessor.Resizing, crop: (height: Int, width: Int)? = nil,
    _ filter: ResamplingFilter = .bicubic,
    padding: [UInt8]? = nil
) -> ImagePreprocessor {
    var settings = ImagePreprocessor()
    settings.resizing = resizing
    settings.crop = crop
    settings.filter = filter
    settings.paddingColor = padding
    return settings
}

@Suite struct PillowTests {
    @Test func everyKindOfPictureIsWhatPillowMakesOfIt() throws {
        let results = try PillowResults()
        #expect(results.pictures.count == 46)
        for name in results.pictures {
            let (found, expected) = (try load(name), try results.image(name))
            #expect(found.width == expected.width && found.height == expected.height, "\(name)")
            let largest = zip(found.pixels, expected.pixels).map { abs(Int($0) - Int($1)) }.max() ?? 0
            #expect(found == expected, "\(name): \(largest) apart")
        }
    }

    @Test(arguments: [
        "colour.jpg", "grey.png", "alpha.png", "cmyk.jpg", "exif6.jpg", "tall.png", "wide.jpg", "large.jpg",
        "colour.webp",
    ])
    func theCentreOfAResizedPictureIsTransformers(_ name: String) throws {
        let made = plain(.shortestEdge(28), crop: (28, 28)).pixels(of: try load(name))
        #expect(made == (try PillowResults().image(name + ":clip28")))
    }

    @Test(arguments: ["colour.png", "exif6.jpg"])
    func enlargedAndFramedPicturesAreTransformers(_ name: String) throws {
        let (image, results) = (try load(name), try PillowResults())
        let enlarged = plain(.shortestEdge(60), crop: (60, 60)).pixels(of: image)
        #expect(enlarged == (try results.image(name + ":up")))
        let framed = plain(.shortestEdge(20), crop: (30, 26)).pixels(of: image)
        #expect(framed == (try results.image(name + ":small")))
    }

    @Test(arguments: ["colour.png", "tall.png", "colour.jpg"])
    func picturesPaddedToASquareAreTransformers(_ name: String) throws {
        // CLIP's means times 255, cut to integers.
        let made = plain(.shortestEdge(28), crop: (28, 28), padding: [122, 116, 104]).pixels(of: try load(name))
        #expect(made == (try PillowResults().image(name + ":pad")))
    }

    @Test(arguments: [ResamplingFilter.lanczos, .bilinear, .box, .hamming])
    func eachFilterIsPillows(_ filter: ResamplingFilter) throws {
        let made = plain(.exact(height: 11, width: 13), filter).pixels(of: try load("colour.png"))
        #expect(made == (try PillowResults().image("colour.png:\(filter)")))
    }

    @Test(arguments: ["colour.png", "exif6.jpg"])
    func valuesAreTransformersToTheBit(_ name: String) throws {
        let settings = try JSONValue.parse(
            #"{"size": {"shortest_edge": 28}, "crop_size": 28, "image_processor_type": "CLIPImageProcessorFast"}"#)
        let made = try ImagePreprocessor(settings, file: "preprocessor_config.json").values(of: try load(name))
        #expect(made == (try PillowResults().floats(name + ":values")))
    }

    @Test func aPartOfAResizedPictureIsTheSameAsOfTheWhole() throws {
        let image = try load("colour.png")
        let whole = image.resized(width: 50, height: 19, .bicubic, columns: 0..<50, rows: 0..<19)
        let part = image.resized(width: 50, height: 19, .bicubic, columns: 7..<31, rows: 3..<18)
        #expect(part == whole.cropped(columns: 7..<31, rows: 3..<18))
    }
}
