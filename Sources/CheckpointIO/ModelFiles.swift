import TensorCore

/// Which of a directory's files hold the tensors of its model. The first of these that is there:
///
/// 1. `model.safetensors`.
/// 2. `model.safetensors.index.json`, with the files that it names.
/// 3. Another index, such as `diffusion_pytorch_model.safetensors.index.json`, if it is the only one.
/// 4. All other safetensors files together, whatever they are called, as long as no tensor is in two of them and, of
///    files that are numbered as `-00001-of-00003`, none is missing.
///
/// Of 3 and 4 these are left out: what belongs to an adapter or to the state of a training run (`notWeights`); Mistral's
/// `consolidated` beside other files, which hold the same weights under Hugging Face's names; a variant such as
/// `X.fp16.safetensors` beside `X.safetensors`. A file that is packed (`.safetensors.zst`) goes by the name that it has
/// unpacked, and is left out where that is there too.
enum ModelFiles: Equatable {
    /// One file or several without an index, by their names.
    case files([String])
    /// An index, by its name.
    case index(String)

    /// The ending of the names of files.
    static let ending = ".safetensors"
    /// The ending of the names of indexes.
    static let indexEnding = ".safetensors.index.json"
    private static let single = "model.safetensors"

    /// How the names of files begin that hold no model: adapters of peft, of mlx and of diffusers, and what trainers
    /// save to go on.
    static let notWeights = [
        "adapter_model", "adapters", "pytorch_lora_weights", "optimizer", "scheduler", "training_state",
        "trainer_state", "rng_state", "random_states",
    ]
    private static let mistral = "consolidated"

    /// The choice for `directory`; nil where nothing in it holds a model. Throws `unreadable`, and `noModel` where it is
    /// not clear which of several indexes is meant.
    static func find(in directory: String) throws(CheckpointError) -> ModelFiles? {
        func isThere(_ name: String) -> Bool { pathKind(joinedPath(directory, name)) != .nothing }
        for name in [single, single + ".zst"] where isThere(name) { return .files([name]) }
        if isThere(ShardIndex.fileName) { return .index(ShardIndex.fileName) }
        let names = try readDirectory(directory).filter { pathKind(joinedPath(directory, $0)) != .directory }
        let indexes = weights(names.filter { $0.hasSuffix(indexEnding) }, ending: indexEnding)
        if let first = indexes.first {
            guard indexes.count == 1 else {
                throw .noModel(
                    directory: directory,
                    hint: "'\(first)' and '\(indexes[1])' are two models; name the index or the file that is meant")
            }
            return .index(first)
        }
        let files = weights(unpackedFirst(names), ending: ending)
        return files.isEmpty ? nil : .files(files)
    }

    /// The safetensors files among `names`; a packed one only where the same file is not there unpacked.
    private static func unpackedFirst(_ names: [String]) -> [String] {
        let all = NameSet(names)
        return names.filter { name in
            name.hasSuffix(ending) || name.hasSuffix(SafetensorsZstd.suffix) && !all.contains(unpacked(name))
        }
    }

    /// The name of a file without the ending of a packed one.
    static func unpacked(_ name: String) -> String {
        name.hasSuffix(SafetensorsZstd.suffix) ? String(name.dropLast(".zst".count)) : name
    }

    /// `names` without what is left out.
    private static func weights(_ names: [String], ending: String) -> [String] {
        func stem(_ name: String) -> String { String(unpacked(name).dropLast(ending.count)) }
        let candidates = names.filter { name in !notWeights.contains { name.hasPrefix($0) } }
        let stems = NameSet(candidates.map(stem))
        let plain = candidates.filter { name in
            let stem = stem(name)
            guard let dot = stem.lastIndex(of: ".") else { return true }
            return !stems.contains(String(stem[..<dot]))
        }
        let others = plain.filter { !$0.hasPrefix(mistral) }
        return others.isEmpty ? plain : others
    }

    /// A name that says which of how many files it is: `model-00002-of-00003` is number 2 of 3.
    private struct Numbered {
        let stem: Substring
        let number: Int
        let count: Int

        init?(_ name: String) {
            let whole = unpackedStem(name)
            let parts = whole.split(separator: "-", omittingEmptySubsequences: false)
            guard parts.count >= 4, parts[parts.count - 2] == "of", let number = Int(parts[parts.count - 3]),
                ClosedRange.sizesOrNone.contains(number),
                let count = Int(parts[parts.count - 1]), ClosedRange.sizes.contains(count)
            else { return nil }
            stem = whole[..<parts[parts.count - 3].startIndex]
            self.number = number
            self.count = count
        }
    }

    /// Whether a file's name says that it is one of several.
    static func isNumbered(_ name: String) -> Bool { Numbered(name) != nil }

    /// A file's name without ending and number: `model` of `model-00002-of-00003.safetensors`.
    static func stem(_ name: String) -> String {
        guard let numbered = Numbered(name), numbered.stem.count > 1 else { return String(unpackedStem(name)) }
        return String(numbered.stem.dropLast())
    }

    /// Throws `malformed` where one of `names`, files without an index, says by its number that there are others and one
    /// of these is missing.
    static func checkNumbers(_ names: [String], in directory: String) throws(CheckpointError) {
        var known: NameTable<Set<Int>> = [:]
        let numbered = names.compactMap { name in Numbered(name).map { (name, $0) } }
        for (_, file) in numbered { known["\(file.stem)\(file.count)", default: []].insert(file.number) }
        for (name, file) in numbered {
            let numbers = known["\(file.stem)\(file.count)"] ?? []
            // Some count from 0.
            let first = numbers.contains(0) ? 0 : 1
            guard let missing = (first...first + file.count - 1).first(where: { !numbers.contains($0) }) else {
                continue
            }
            throw .malformed(
                file: directory,
                problem: "'\(name)' is one of \(file.count) files of a model, and number \(missing) is not there")
        }
    }
}

/// The name of a safetensors file without its endings.
private func unpackedStem(_ name: String) -> Substring { ModelFiles.unpacked(name).dropLast(ModelFiles.ending.count) }
