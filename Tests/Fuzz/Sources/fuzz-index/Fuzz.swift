import CheckpointIO
import FuzzSupport

/// The bytes as the index of a checkpoint of three shards.
@main
enum Fuzz {
    static func main() {
        fuzz { start, count in
            for number in 1...3 {
                let shard = "model-0000\(number)-of-00003.safetensors"
                _ = placeFixture("formats/sharded/" + shard, as: shard)
            }
            let folder = placeInput(start, count, as: ShardIndex.fileName)
            reading {
                let checkpoint = try Checkpoint.open(folder)
                try checkpoint.readEverything(checkpoint.tensors)
            }
            return 0
        }
    }
}
