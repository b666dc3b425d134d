import CheckpointIO
import FuzzSupport

/// The bytes as a safetensors file.
@main
enum Fuzz {
    static func main() {
        fuzz { start, count in
            let folder = placeInput(start, count, as: "input.safetensors")
            reading {
                let file = try SafetensorsFile.open(folder + "/input.safetensors")
                try file.readEverything(file.tensors)
            }
            return 0
        }
    }
}
