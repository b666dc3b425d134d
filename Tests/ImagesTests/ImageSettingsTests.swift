import CheckpointIO
import Images
import TensorCore
import TestSupport
import Testing

private func settings(_ text: String) throws -> ImagePreprocessor {
    try ImagePreprocessor(JSONValue.parse(text), file: "preprocessor_config.json")
}

/// What reading settings throws, in words.
private func problem(_ text: String) -> String {
    do {
        _ = try settings(text)
        return "nothing"
    } catch {
        return "\(error)"
    }
}

@Suite struct ImageSettingsTests {
    /// llava-hf/llava-1.5-7b-hf's.
    private static let llava = """
        {"crop_size": {"height": 336, "width": 336}, "do_center_crop": true, "do_convert_rgb": true, "do_normalize": true,
        "do_rescale": true, "do_resize": true, "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_processor_type": "CLIPImageProcessor", "image_std": [0.26862954, 0.26130258, 0.27577711],
        "processor_class": "LlavaProcessor", "resample": 3, "rescale_factor": 0.00392156862745098,
        "size": {"shortest_edge": 336}}
        """

    @Test func publishedSettingsAreRead() throws {
        let read = try settings(Self.llava)
        #expect(read.outputSize! == (336, 336) && read.resizing == .shortestEdge(336) && read.paddingColor == nil)
        #expect(read.rescaleFactor == 0.00392156862745098 && read.filter == .bicubic)
        #expect(read.normalization?.means == [0.48145466, 0.4578275, 0.40821073])
    }

    @Test func whatIsNotSaidIsWhatTransformersAssumes() throws {
        let read = try settings("{}")
        #expect(read.resizing == .shortestEdge(224) && read.outputSize! == (224, 224))
        #expect(read.normalization?.deviations == [0.26862954, 0.26130258, 0.27577711])
        #expect(try settings(#"{"size": 30, "default_to_square": true}"#).resizing == .exact(height: 30, width: 30))
        #expect(try settings(#"{"size": 30, "image_mean": 0.5}"#).normalization?.means == [0.5, 0.5, 0.5])
        #expect(
            try settings(#"{"image_processor_type": "LlavaImageProcessor", "do_pad": true}"#).paddingColor
                == [122, 116, 104])
        let bare = try settings(
            #"{"do_rescale": false, "do_normalize": false, "do_center_crop": false, "size": {"height": 2, "width": 1}}"#
        )
        #expect(bare.values(of: RGBImage(width: 1, height: 2, pixels: [1, 2, 3, 4, 5, 6])) == [1, 4, 2, 5, 3, 6])
    }

    @Test func whatCannotBeHeededIsRefusedByName() {
        let file = "preprocessor_config.json: "
        for (text, words) in [
            (#"{"image_processor_type": "SiglipImageProcessor"}"#, "'image_processor_type' is 'SiglipImageProcessor'"),
            (#"{"do_pad": true}"#, "'do_pad' is true, which tspeft cannot do"),
            (#"{"resample": 0}"#, "'resample' is 0, which tspeft cannot do; it can do 1 (lanczos)"),
            (#"{"do_center_crop": false}"#, "'do_center_crop' is false"),
            (#"{"size": {"shortest_edge": 3, "longest_edge": 5}}"#, "'size.longest_edge' is 5"),
            (#"{"size": {"height": 3}}"#, "'size.width' must be a length from 1 to 16384"),
            (#"{"crop_size": 0}"#, "'crop_size' must be a length"),
            (#"{"image_mean": [1, 2]}"#, "'image_mean' must be three numbers"),
            (#"{"image_std": [1, 0, 1]}"#, "'image_std' must be positive numbers"),
            (#"{"rescale_factor": "x"}"#, "'rescale_factor' must be a positive number"),
            (#"{"do_resize": 1}"#, "'do_resize' must be true or false"),
            (#"{"image_grid_pinpoints": [[1, 2]]}"#, "'image_grid_pinpoints' is [[1, 2]]"),
            (#"{"data_format": "channels_last"}"#, #"'data_format' is "channels_last""#),
        ] {
            #expect(problem(text).hasPrefix(file + words), "\(text): \(problem(text))")
        }
    }

    @Test func theProcessorsOwnSettingsGoFirst() throws {
        try withTemporaryFolder { folder in
            #expect(throws: ImageError.noSettings(directory: folder)) { try ImagePreprocessor.read(directory: folder) }
            try writeFile(folder + "/preprocessor_config.json", Self.llava)
            try writeFile(folder + "/processor_config.json", #"{"patch_size": 14}"#)
            #expect(try ImagePreprocessor.read(directory: folder).outputSize! == (336, 336))
            try writeFile(folder + "/processor_config.json", #"{"image_processor": {"crop_size": 28, "size": 28}}"#)
            #expect(try ImagePreprocessor.read(directory: folder).outputSize! == (28, 28))
            try writeFile(folder + "/processor_config.json", "[1]")
            #expect(throws: ImageError.self) { try ImagePreprocessor.read(directory: folder) }
        }
    }
}
