/* What GStreamer's example client in C uses of newer versions of GStreamer, for older ones. */
#include <gst/gst.h>
#define GST_USE_UNSTABLE_API
#include <gst/webrtc/webrtc.h>
#include <gst/webrtc/ice.h>

#if !GST_CHECK_VERSION(1, 24, 0)
/* There is no promise yet. Only its own ICE agent calls this, which it uses on demand. */
#define gst_webrtc_ice_add_candidate(ice, stream, candidate, promise) \
  gst_webrtc_ice_add_candidate (ice, stream, candidate)
#endif

#if !GST_CHECK_VERSION(1, 26, 0)
/* Only used as a pointer, to the text itself. */
typedef struct GstIdStr GstIdStr;

static inline const gchar *
gst_id_str_as_str (const GstIdStr * name)
{
  return (const gchar *) name;
}

static inline gboolean
gst_structure_foreach_id_str (const GstStructure * structure,
    gboolean (*function) (const GstIdStr *, const GValue *, gpointer), gpointer data)
{
  for (gint i = 0; i < gst_structure_n_fields (structure); i++) {
    const gchar *name = gst_structure_nth_field_name (structure, (guint) i);
    if (!function ((const GstIdStr *) name, gst_structure_get_value (structure, name), data))
      return FALSE;
  }
  return TRUE;
}
#endif
