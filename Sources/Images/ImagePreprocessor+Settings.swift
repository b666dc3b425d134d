import CheckpointIO
import TensorCore

/// `preprocessor_config.json`, or what `processor_config.json` has of it under `image_processor`: every member is used, is
/// known to change nothing here, or is refused by name.
extension ImagePreprocessor {
    /// The files that tell of it.
    package static let fileName = "preprocessor_config.json"
    package static let processorFileName = "processor_config.json"
    /// The most bytes of such a file.
    private static let byteLimit = 1 << 20

    /// The preprocessor of the model in `directory`: as `processor_config.json` has it where it has one, else as
    /// `preprocessor_config.json` does. Throws `ImageError`, `.noSettings` without either.
    package static func read(directory: String) throws(ImageError) -> ImagePreprocessor {
        let processor = joinedPath(directory, processorFileName)
        if let nested = try object(processor)?["image_processor"], !nested.isNull {
            return try ImagePreprocessor(nested, file: processor)
        }
        let file = joinedPath(directory, fileName)
        guard let json = try object(file) else { throw .noSettings(directory: directory) }
        return try ImagePreprocessor(json, file: file)
    }

    /// `processor_config.json` of a model; nil where there is none. Throws `ImageError`.
    package static func processorSettings(directory: String) throws(ImageError) -> JSONValue? {
        try object(joinedPath(directory, processorFileName))
    }

    private static func object(_ path: String) throws(ImageError) -> JSONValue? {
        guard pathKind(path) != .nothing else { return nil }
        let bytes: [UInt8]
        do throws(CheckpointError) { bytes = try readSmallFile(path, limit: byteLimit) } catch { throw .file(error) }
        let value: JSONValue
        do throws(JSONError) {
            value = try JSONValue.parse(bytes[...])
        } catch {
            throw .badSettings(file: path, key: nil, problem: "is \(error)")
        }
        guard value.objectValue != nil else { throw .badSettings(file: path, key: nil, problem: "is no JSON object") }
        return value
    }

    /// Kinds of processors, and whether each pads to a square.
    private static let types: [String: Bool] = [
        "CLIPImageProcessor": false, "CLIPImageProcessorFast": false, "CLIPImageProcessorPil": false,
        "CLIPFeatureExtractor": false, "LlavaImageProcessor": true, "LlavaImageProcessorFast": true,
        "LlavaImageProcessorPil": true,
    ]
    /// Means and deviations of OpenAI's CLIP.
    private static let clipMeans = [0.48145466, 0.4578275, 0.40821073]
    private static let clipDeviations = [0.26862954, 0.26130258, 0.27577711]
    /// The size and the crop where nothing is said.
    fileprivate static let assumedSize = 224

    /// Members that are read, and those that change nothing: names of Python classes, where tensors lie and what they are
    /// called, and `do_convert_rgb`, since pictures come in RGB.
    private static let known: Set<String> = [
        "do_resize", "size", "default_to_square", "resample", "do_center_crop", "crop_size", "do_rescale",
        "rescale_factor", "do_normalize", "image_mean", "image_std", "do_pad", "image_processor_type",
        "feature_extractor_type", "processor_class", "auto_map", "do_convert_rgb", "device", "return_tensors",
        "disable_grouping", "_valid_processor_keys", "image_seq_length", "use_fast",
    ]

    /// What a settings object of `file` says. Throws `ImageError.badSettings` and `.unsupportedSettings`.
    package init(_ json: JSONValue, file: String) throws(ImageError) {
        let fields = ImageSettingsReader(json: json, file: file)
        try fields.refuse(allBut: Self.known)
        let key = fields.has("image_processor_type") ? "image_processor_type" : "feature_extractor_type"
        let type = try fields.string(key) ?? "CLIPImageProcessor"
        guard let padsToSquare = Self.types[type] else {
            throw fields.unsupported(key, "'\(type)'", "CLIPImageProcessor and LlavaImageProcessor")
        }
        if try fields.flag("do_resize") ?? true {
            resizing = try fields.size("size", isSquare: try fields.flag("default_to_square") ?? false)
            filter = try fields.filter("resample")
        }
        if try fields.flag("do_center_crop") ?? true { crop = try fields.sides("crop_size", assumed: Self.assumedSize) }
        if try fields.flag("do_rescale") ?? true {
            rescaleFactor = try fields.positiveNumber("rescale_factor") ?? 1.0 / 255
        }
        let means = try fields.parts("image_mean") ?? Self.clipMeans
        let deviations = try fields.parts("image_std") ?? Self.clipDeviations
        if try fields.flag("do_normalize") ?? true {
            guard deviations.allSatisfy({ Float($0) > 0 }) else {
                throw fields.bad("image_std", "must be positive numbers")
            }
            normalization = (means.map { Float($0) }, deviations.map { Float($0) })
        }
        if try fields.flag("do_pad") ?? false {
            guard padsToSquare else {
                throw fields.unsupported("do_pad", "true", "padding of LlavaImageProcessor alone")
            }
            // Truncated, as Python's int() does.
            guard means.allSatisfy({ (0..<256).contains($0 * 255) }) else {
                throw fields.bad("image_mean", "must be between 0 and 1, as the colour of what is padded")
            }
            paddingColor = means.map { UInt8($0 * 255) }
        }
        guard outputSize != nil else {
            throw fields.unsupported(
                "do_center_crop", "false", "pictures of one size, cut out or resized to a height and a width")
        }
    }
}

/// Reads members of the settings; absent and null are the same.
private struct ImageSettingsReader {
    let json: JSONValue
    let file: String

    /// Sides longer than any tower's.
    private static let longestSide = 1 << 14

    func member(_ key: String) -> JSONValue? {
        guard let member = json[key], !member.isNull else { return nil }
        return member
    }

    func has(_ key: String) -> Bool { member(key) != nil }

    func bad(_ key: String, _ problem: String) -> ImageError {
        .badSettings(file: file, key: key, problem: problem)
    }

    func unsupported(_ key: String, _ found: String, _ supported: String) -> ImageError {
        .unsupportedSettings(file: file, key: key, found: found, supported: supported)
    }

    func refuse(allBut known: Set<String>) throws(ImageError) {
        for (key, value) in json.objectValue?.members ?? [] where !known.contains(key) && !value.isNull {
            if key == "data_format", value.stringValue == "channels_first" { continue }
            if key == "use_square_size", value.boolValue == false { continue }
            throw unsupported(key, value.text(), "the members of CLIP's and LLaVA's image processors")
        }
    }

    func string(_ key: String) throws(ImageError) -> String? {
        guard let member = member(key) else { return nil }
        guard let text = member.stringValue else { throw bad(key, "must be a string") }
        return text
    }

    func flag(_ key: String) throws(ImageError) -> Bool? {
        guard let member = member(key) else { return nil }
        guard let value = member.boolValue else { throw bad(key, "must be true or false") }
        return value
    }

    func positiveNumber(_ key: String) throws(ImageError) -> Double? {
        guard let member = member(key) else { return nil }
        guard let value = member.doubleValue, value > 0, value.isFinite else {
            throw bad(key, "must be a positive number")
        }
        return value
    }

    /// A number for each of red, green and blue, or one for all.
    func parts(_ key: String) throws(ImageError) -> [Double]? {
        guard let member = member(key) else { return nil }
        let values = (member.arrayValue ?? Array(repeating: member, count: 3)).compactMap(\.doubleValue)
        guard values.count == 3, values.allSatisfy(\.isFinite) else {
            throw bad(key, "must be three numbers, for red, green and blue")
        }
        return values
    }

    private func side(_ value: JSONValue?, _ key: String) throws(ImageError) -> Int {
        guard let side = value?.integer(in: 1...Self.longestSide) else {
            throw bad(key, "must be a length from 1 to \(Self.longestSide)")
        }
        return side
    }

    /// `{"height", "width"}`, or one length for both.
    func sides(_ key: String, assumed: Int) throws(ImageError) -> (height: Int, width: Int) {
        guard let member = member(key) else { return (assumed, assumed) }
        guard let object = member.objectValue else {
            let length = try side(member, key)
            return (length, length)
        }
        for name in object.keys where !["height", "width"].contains(name) && !(object[name]?.isNull ?? true) {
            throw unsupported("\(key).\(name)", object[name]?.text() ?? "", "'height' and 'width'")
        }
        return (try side(object["height"], "\(key).height"), try side(object["width"], "\(key).width"))
    }

    /// `{"shortest_edge"}`, `{"height", "width"}`, or one length.
    func size(_ key: String, isSquare: Bool) throws(ImageError) -> ImagePreprocessor.Resizing {
        guard let member = member(key) else { return .shortestEdge(ImagePreprocessor.assumedSize) }
        guard let object = member.objectValue else {
            let length = try side(member, key)
            return isSquare ? .exact(height: length, width: length) : .shortestEdge(length)
        }
        if let edge = object["shortest_edge"], !edge.isNull {
            for name in object.keys where name != "shortest_edge" && !(object[name]?.isNull ?? true) {
                throw unsupported("\(key).\(name)", object[name]?.text() ?? "", "'shortest_edge' alone")
            }
            return .shortestEdge(try side(edge, "\(key).shortest_edge"))
        }
        let sides = try sides(key, assumed: ImagePreprocessor.assumedSize)
        return .exact(height: sides.height, width: sides.width)
    }

    func filter(_ key: String) throws(ImageError) -> ResamplingFilter {
        guard let member = member(key) else { return .bicubic }
        guard let number = member.integer(in: 0...Int(UInt8.max)), let filter = ResamplingFilter(rawValue: number)
        else {
            throw unsupported(
                key, member.text(), ResamplingFilter.allCases.map { "\($0.rawValue) (\($0))" }.joined(separator: ", "))
        }
        return filter
    }
}
