import CheckpointIO
import Models
import TensorCore
import Tokenization

/// The files that lie beside the tensors of a Hugging Face directory.
enum HuggingFaceFiles {
    /// Endings of files that hold weights, or list where weights lie: never copied, because they would be stale.
    private static let weightEndings = [
        ".safetensors", ".safetensors.zst", ".gguf", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx",
        ".safetensors.index.json", ".bin.index.json",
    ]
    /// Files of an adapter, which transformers would load beside the model.
    private static let adapterFiles: Set<String> = ["adapter_config.json", "tspeft.json"]

    /// The files in `directory` that go with its model into another directory, and those that stay behind because they
    /// hold weights in a form that is not read. Directories in it stay behind too, but for that of named chat templates.
    /// Throws `unreadable`.
    static func beside(_ directory: String) throws(CheckpointError) -> (copied: [String], left: [String]) {
        var copied: [String] = []
        var left: [String] = []
        for name in try readDirectory(directory) {
            guard try checkedPathKind(joinedPath(directory, name)) == .regularFile else { continue }
            if adapterFiles.contains(name) { continue }
            if !weightEndings.contains(where: name.hasSuffix) {
                copied.append(name)
            } else if ![".safetensors", SafetensorsZstd.suffix, ".index.json"].contains(where: name.hasSuffix) {
                left.append(name)
            }
        }
        return (copied + (try ChatTemplateTexts.files(in: directory)), left)
    }

    /// Name and text of each file that a model out of a GGUF file needs: `config.json` with tensors of `dtype`,
    /// `generation_config.json`, `tokenizer.json` and `tokenizer_config.json`.
    ///
    /// Throws `TransformError.unsupported` for a scaling or a tokenizer that has no such form, and
    /// `TokenizationError`.
    static func texts(
        ofGGUF model: ModelCheckpoint, dtype: DType, tiedEmbeddings: Bool
    ) throws -> [(name: String, text: String)] {
        let path = model.checkpoint.path
        guard let metadata = model.checkpoint.metadata else {
            throw TransformError.unsupported(path: path, reason: "it has no metadata")
        }
        let architecture = try model.requireGraph(for: ModelCheckpoint.conversion)
        let paddingTokenID = metadata["tokenizer.ggml.padding_token_id"]?.integer(in: .tokenIDs)
        let configuration = try HuggingFaceConfiguration.config(
            of: architecture, dtype: dtype, tiedEmbeddings: tiedEmbeddings, paddingTokenID: paddingTokenID,
            recorded: metadata[GGUFModelMetadata.rotaryScalingKey]?.stringValue, file: path)
        let generation = HuggingFaceConfiguration.generation(
            of: architecture.configuration, paddingTokenID: paddingTokenID, metadata: metadata)
        let tokenizer = try GGUFTokenizerExport(metadata, file: path)
        func text(_ value: JSONValue) -> String { value.text(indent: 2) + "\n" }
        return [
            ("config.json", text(configuration)), ("generation_config.json", text(generation)),
            ("tokenizer.json", try tokenizer.tokenizer() + "\n"),
            ("tokenizer_config.json", text(tokenizer.configuration)),
        ]
    }

    /// `config.json` for tensors that are now of `dtype`: wherever it names the elements' type, in parts of models too.
    static func configuration(_ json: JSONValue, dtype: DType) -> JSONValue {
        guard case .object(var members) = named(json, dtype) else { return json }
        if members["torch_dtype"] == nil, members["dtype"] == nil {
            members["torch_dtype"] = .string(dtype.torchName)
        }
        return .object(members)
    }

    private static func named(_ json: JSONValue, _ dtype: DType) -> JSONValue {
        guard case .object(var members) = json else { return json }
        for (key, value) in members.members {
            if value.objectValue != nil {
                members[key] = named(value, dtype)
            } else if key == "torch_dtype" || key == "dtype", value.stringValue != nil {
                members[key] = .string(dtype.torchName)
            }
        }
        return .object(members)
    }
}

extension DType {
    /// What `config.json` calls the type of a model's floats.
    var torchName: String {
        switch self {
        case .bf16: "bfloat16"
        case .f16: "float16"
        case .f64: "float64"
        default: "float32"
        }
    }
}
